"""azure-pipelines.yml and azure-pipelines-train.yml: well-formed, without logic, without secrets."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.validate_pipelines import faults
from tests.rehearsal.pipeline import read_document

ROOT = Path(__file__).parents[1]
FILES = sorted(ROOT.glob("azure-pipelines*.yml"))
# What Microsoft keeps; an older major version, or a task that is not here, is a decision to be made.
TASKS = {
    "AzureCLI@2",
    "Docker@2",
    "DownloadSecureFile@1",
    "KubeloginInstaller@0",
    "KubernetesManifest@1",
    "Notation@0",
    "PublishTestResults@2",
}


def steps(node: Any) -> Iterator[dict[str, Any]]:
    """Every step, wherever in a document."""
    if isinstance(node, dict):
        yield from node.get("steps", [])
        for value in node.values():
            yield from steps(value)
    elif isinstance(node, list):
        for value in node:
            yield from steps(value)


def scripts(step: dict[str, Any]) -> str:
    """What a step gives to a shell."""
    given: str = step.get("script") or step.get("inputs", {}).get("inlineScript", "")
    return given


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def document(request: pytest.FixtureRequest) -> Any:
    """One of the files."""
    return read_document(request.param)


def test_yamllint() -> None:
    """The files are as .yamllint wants them."""
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", *FILES], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_steps(document: Any) -> None:
    """Every step has a name, and is a kept task, a script of ours or one of Azure Pipelines' own."""
    found = list(steps(document))
    assert found
    for step in found:
        assert step["displayName"]
        assert step.keys() & {"checkout", "download", "publish", "script"} or step["task"] in TASKS


def test_no_logic(document: Any) -> None:
    """What a step runs is one call of scripts that are there."""
    called = [text for text in map(scripts, steps(document)) if text]
    assert called
    for text in called:
        assert text.startswith("scripts/")
        assert not re.search(r"[;|&<>`\n]|\$\((?![\w.]+\))", text), text
        for name in re.findall(r"scripts/(\w+)", text):
            assert (ROOT / "scripts" / name).is_file(), text


def test_fresh_agents(document: Any) -> None:
    """Who needs a file of ours has checked out first, since a deployment does not do it by itself."""
    lists = re.compile(r"scripts/|build/")

    def lists_of(node: Any) -> Iterator[list[dict[str, Any]]]:
        if isinstance(node, dict):
            if "steps" in node:
                yield node["steps"]
            for value in node.values():
                yield from lists_of(value)
        elif isinstance(node, list):
            for value in node:
                yield from lists_of(value)

    for each in lists_of(document):
        if any(lists.search(str(step)) for step in each):
            assert each[0].get("checkout") == "self"


def test_no_secret() -> None:
    """Nothing in the files looks like a credential, and no argument takes one."""
    for path in FILES:
        text = path.read_text()
        assert not re.search(r"(?i)password\s*[:=]\s*[^$\s]|accountkey|sharedaccess|sig=|--password", text)


@pytest.mark.parametrize(
    ("document", "words"),
    [({"stages": [{"stage": "One", "jobz": []}]}, "jobz"), ({"stages": [{"stage": "One"}], "x": "y"}, "x")],
)
def test_schema_check(document: Any, words: str) -> None:
    """The check of the schema names what it does not know."""
    stage = {"type": "object", "properties": {"stage": {}, "jobs": {}}, "additionalProperties": False}
    schema = {
        "type": "object",
        "properties": {"stages": {"type": "array", "items": stage}},
        "additionalProperties": False,
    }
    assert any(words in fault for fault in faults(document, schema))
    assert faults({"stages": []}, schema) == []
