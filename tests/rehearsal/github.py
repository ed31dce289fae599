"""Reading GitHub's workflows; every scalar is text.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.validate_pipelines import read_document
from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.pipeline import Job, Pipeline, Stage, Step, check_keys, names
from tests.rehearsal.systems import GITHUB

STATUS_FUNCTION = re.compile(r"\b(success|failure|cancelled|always)\(\)")
WORKFLOW_KEYS = {"name", "on", "permissions", "concurrency", "defaults", "env", "jobs"}
JOB_KEYS = {"name", "needs", "if", "outputs", "env", "steps", "environment", "concurrency", "permissions"}
MACHINE_KEYS = {"runs-on", "timeout-minutes"}
STEP_KEYS = {"name", "id", "if", "env", "uses", "with", "run"}


def read_workflow(path: Path) -> Pipeline:
    """Read a workflow.

    Each job is a stage, with the jobs whose ids continue its own, as `production-clean-up` does `production`.

    Raises:
        RehearsalError: the file uses a feature that is not supported.
    """
    document = read_document(path)
    check_keys(path.name, document, WORKFLOW_KEYS)
    if document.get("defaults", {"run": {"shell": "bash"}}) != {"run": {"shell": "bash"}}:
        raise RehearsalError(f"{path.name}: expected bash as the default shell, without other defaults")
    titles: dict[str, str] = {}
    jobs: dict[str, list[Job]] = {}
    for name, given in document["jobs"].items():
        head = next((each for each in jobs if name.startswith(f"{each}-")), name)
        titles.setdefault(head, given["name"])
        jobs.setdefault(head, []).append(_job(name, given, document.get("env", {})))
    stages = tuple(
        Stage(titles[head], titles[head], tuple(each), condition="always()") for head, each in jobs.items()
    )
    return Pipeline(GITHUB, "GITHUB_SHA", {}, stages)


def _job(name: str, given: Mapping[str, Any], env: Mapping[str, str]) -> Job:
    check_keys(f"job {name}", given, JOB_KEYS | MACHINE_KEYS)
    return Job(
        name=name,
        title=given["name"],
        steps=tuple(map(_step, given["steps"])),
        depends_on=names(given.get("needs", [])),
        condition=_condition(given.get("if", "success()")),
        variables={**env, **given.get("env", {})},
        outputs=given.get("outputs", {}),
    )


def _step(given: Mapping[str, Any]) -> Step:
    check_keys(f"step {given.get('name', given)}", given, STEP_KEYS)
    inputs: Mapping[str, str] = given.get("with", {})
    action = given.get("uses", "").partition("@")[0]
    match action:
        case "":
            kind, value = "script", given["run"]
        case "actions/checkout":
            kind, value = "checkout", "self"
        case "actions/upload-artifact":
            kind, value = "publish", inputs["path"]
        case "actions/download-artifact":
            kind, value = "download", inputs["path"]
        case _:
            kind, value = "task", action
    return Step(
        kind=kind,
        value=value,
        title=given["name"],
        name=given.get("id", ""),
        condition=_condition(given.get("if", "success()")),
        inputs=inputs,
        env=given.get("env", {}),
        artifact=inputs.get("name", ""),
    )


def _condition(text: str) -> str:
    """Return a condition that says what GitHub adds to one without a status function."""
    return text if STATUS_FUNCTION.search(text) else f"success() && ({text})"
