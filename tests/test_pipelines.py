"""azure-pipelines*.yml and GitHub's workflows: without logic, without secrets, with least identities."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_loader.package.service_file import service
from scripts.validate_pipelines import read_document, schema_errors
from tests.pipeline_templates import read_expanded  # part: azure_pipelines

ROOT = Path(__file__).parents[1]
AZURE = sorted(ROOT.glob("azure-pipelines*.yml"))
FILES = [path for path in AZURE if path.name != "azure-pipelines-variables.yml"]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
# Tasks that Microsoft maintains. Another task, or an older major version, needs a decision.
TASKS = {
    "AzureCLI@2",
    "Docker@2",
    "DownloadSecureFile@1",
    "KubeloginInstaller@0",
    "Notation@0",
    "PublishTestResults@2",
}
# Actions of GitHub, Microsoft and the Notary Project, by full commit.
ACTIONS = {
    "actions/checkout",
    "actions/download-artifact",
    "actions/upload-artifact",
    "azure/login",
    "azure/use-kubelogin",
    "notaryproject/notation-action/setup",
    "notaryproject/notation-action/sign",
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
    text: str = step.get("script") or step.get("run") or step.get("inputs", {}).get("inlineScript", "")
    return text


@pytest.fixture(params=[*FILES, *WORKFLOWS], ids=lambda path: path.name)
def document(request: pytest.FixtureRequest) -> Any:
    """Return the content of each file in turn."""
    return read_document(request.param)


# part: github
@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request: pytest.FixtureRequest) -> Any:
    """Return the content of each of GitHub's workflows in turn."""
    return read_document(request.param)


# end: github
def test_steps(document: Any) -> None:
    """Every step has a name, and is a script, a listed task or action, or a shortcut of Azure Pipelines."""
    found = steps(document)
    assert found
    for step in found:
        assert step.get("displayName") or step.get("name")
        known = step.keys() & {"checkout", "download", "publish", "script", "run"}
        assert known or step.get("task") in TASKS or step["uses"].partition("@")[0] in ACTIONS


def test_no_logic(document: Any) -> None:
    """The command of a step is one call of a script in the repository."""
    commands = [text for text in map(command, steps(document)) if text]
    assert commands
    for text in commands:
        assert text.startswith("scripts/")
        assert not re.search(r"[;|&<>`\n]|\$\((?![\w.]+\))|\$\{", text), text
        for name in re.findall(r"scripts/(\w+)", text):
            assert (ROOT / "scripts" / name).is_file(), text


def test_checkout_first(document: Any) -> None:
    """Steps that use the repository's files check it out first."""
    for each in step_lists(document):
        if any(re.search(r"scripts/|build/", str(step)) for step in each):
            assert each[0].get("checkout") == "self" or each[0]["uses"].startswith("actions/checkout@")


def test_no_secret() -> None:
    """Nothing in the files looks like a credential, and no argument takes one."""
    for path in [*AZURE, *WORKFLOWS]:
        text = path.read_text()
        assert not re.search(r"(?i)password\s*[:=]\s*[^$\s]|accountkey|sharedaccess|sig=|--password", text)


# part: azure_pipelines
def connections(document: Any) -> set[str]:
    """Return the service connections that a document names."""
    keys = {"azureSubscription", "containerRegistry", "azurekvServiceConection"}
    return {value for step in steps(document) for key, value in step.get("inputs", {}).items() if key in keys}


def test_pull_request_reaches_nothing() -> None:
    """A pull request reads models and nothing else; only its own pipeline has a trigger for pull requests."""
    documents = {path.name: read_expanded(path) for path in FILES}
    assert connections(documents["azure-pipelines-pull-request.yml"]) == {"demo-read"}
    assert [name for name, document in documents.items() if document["pr"] != "none"] == [
        "azure-pipelines-pull-request.yml"
    ]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("Plan", {"demo-read"}),
        ("Test", set()),
        ("Build", {"demo-build", "demo-record", "demo-registry"}),
        ("Staging", {"demo-staging", "demo-record"}),
        ("Production", {"demo-production", "demo-record"}),
    ],
)
def test_identities(stage: str, expected: set[str]) -> None:
    """Each stage uses the identities of its own work: a stage waits for the checks of all that it names."""
    document = read_expanded(ROOT / "azure-pipelines.yml")
    assert connections(next(each for each in document["stages"] if each["stage"] == stage)) == expected


def test_names(document: Any) -> None:
    """Only the webhooks' connections have the service's name: it is a variable, or scripts read it."""
    name = service().name
    webhooks = document.get("resources", {}).get("webhooks", []) if "resources" in document else []
    assert [each["connection"].startswith(f"{name}-") for each in webhooks] == [True] * len(webhooks)
    others = yaml.safe_dump({key: value for key, value in document.items() if key != "resources"})
    assert not re.search(rf"\b{name}\b", others)


def test_variables() -> None:
    """The pipelines have the name in service.toml, and all of them the same variables."""
    documents = [read_expanded(path) for path in FILES]
    assert all(each["variables"] == documents[0]["variables"] for each in documents)
    assert documents[0]["variables"]["service"] == service().name


def test_release_order() -> None:
    """A run holds back no later commit, and releases deploy one after the other."""
    document = read_document(ROOT / "azure-pipelines.yml")
    assert "batch" not in document["trigger"]
    for stage in document["stages"]:
        assert stage.get("lockBehavior") == (
            "sequential" if stage["stage"] in ("Staging", "Production") else None
        )


# end: azure_pipelines


# part: github
def test_workflow_is_pinned(workflow: Any) -> None:
    """Actions are pinned to a full commit, and the machine to a version."""
    for step in steps(workflow):
        assert "uses" not in step or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]), step
    assert {job["runs-on"] for job in workflow["jobs"].values()} == {"ubuntu-24.04"}


def test_workflow_permissions(workflow: Any) -> None:
    """Jobs have no permission that they do not use, and an environment unless they only read models.

    An environment admits only the branch main, so no pull request can get the identity that trusts it.
    """
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        logins = {
            step["with"]["client-id"]
            for step in job["steps"]
            if step.get("uses", "").startswith("azure/login@")
        }
        expected = {"contents": "read"} | ({"id-token": "write"} if logins else {})
        if command(job["steps"][-1]) == "scripts/start_release":
            expected["actions"] = "write"
        assert job["permissions"] == expected
        assert "environment" in job or logins <= {"${{ vars.AZURE_CLIENT_ID_READ }}"}
        assert job["timeout-minutes"]


def test_workflow_concurrency() -> None:
    """Deployments wait for each other and none is canceled; actionlint cannot check `queue` yet."""
    jobs = read_document(ROOT / ".github/workflows/release.yml")["jobs"]
    groups = {name: job.get("concurrency") for name, job in jobs.items()}
    assert groups == dict.fromkeys(jobs) | {
        name: {"group": name, "queue": "max"} for name in ("staging", "production")
    }


# end: github


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
