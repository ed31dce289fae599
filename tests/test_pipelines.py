"""azure-pipelines.yml and azure-pipelines-train.yml: well-formed, without logic, without secrets."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.validate_pipelines import read_document, schema_errors

ROOT = Path(__file__).parents[1]
FILES = sorted(ROOT.glob("azure-pipelines*.yml"))
# Tasks that Microsoft maintains. Another task, or an older major version, needs a decision.
TASKS = {
    "AzureCLI@2",
    "Docker@2",
    "DownloadSecureFile@1",
    "KubeloginInstaller@0",
    "KubernetesManifest@1",
    "Notation@0",
    "PublishTestResults@2",
}
Step = dict[str, Any]


def step_lists(node: Any) -> Iterator[list[Step]]:
    """Yield every list of steps in a document. Each runs on one agent."""
    if isinstance(node, dict):
        if "steps" in node:
            yield node["steps"]
        for value in node.values():
            yield from step_lists(value)
    elif isinstance(node, list):
        for value in node:
            yield from step_lists(value)


def steps(document: Any) -> list[Step]:
    """Return every step of a document."""
    return [step for each in step_lists(document) for step in each]


def command(step: Step) -> str:
    """Return the shell command of a step; empty if it has none."""
    text: str = step.get("script") or step.get("inputs", {}).get("inlineScript", "")
    return text


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def document(request: pytest.FixtureRequest) -> Any:
    """Return the content of each file in turn."""
    return read_document(request.param)


def test_yamllint() -> None:
    """The files pass yamllint with the rules in .yamllint."""
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", *FILES], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_steps(document: Any) -> None:
    """Every step has a display name, and is a listed task, a script or one of Azure Pipelines' shortcuts."""
    found = steps(document)
    assert found
    for step in found:
        assert step["displayName"]
        assert step.keys() & {"checkout", "download", "publish", "script"} or step["task"] in TASKS


def test_no_logic(document: Any) -> None:
    """The command of a step is one call of a script in the repository."""
    commands = [text for text in map(command, steps(document)) if text]
    assert commands
    for text in commands:
        assert text.startswith("scripts/")
        assert not re.search(r"[;|&<>`\n]|\$\((?![\w.]+\))", text), text
        for name in re.findall(r"scripts/(\w+)", text):
            assert (ROOT / "scripts" / name).is_file(), text


def test_checkout_first(document: Any) -> None:
    """Steps that use the repository's files check it out first; deployment jobs do not do that by default."""
    for each in step_lists(document):
        if any(re.search(r"scripts/|build/", str(step)) for step in each):
            assert each[0].get("checkout") == "self"


def test_no_secret() -> None:
    """Nothing in the files looks like a credential, and no argument takes one."""
    for path in FILES:
        text = path.read_text()
        assert not re.search(r"(?i)password\s*[:=]\s*[^$\s]|accountkey|sharedaccess|sig=|--password", text)


@pytest.mark.parametrize(
    ("document", "unknown_key"),
    [({"stages": [{"stage": "One", "jobz": []}]}, "jobz"), ({"stages": [{"stage": "One"}], "x": "y"}, "x")],
)
def test_schema_errors(document: Any, unknown_key: str) -> None:
    """The schema check names an unknown key."""
    stage = {"type": "object", "properties": {"stage": {}, "jobs": {}}, "additionalProperties": False}
    schema = {
        "type": "object",
        "properties": {"stages": {"type": "array", "items": stage}},
        "additionalProperties": False,
    }
    assert any(unknown_key in error for error in schema_errors(document, schema))
    assert schema_errors({"stages": []}, schema) == []
