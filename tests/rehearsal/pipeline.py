"""What a pipeline consists of, and reading it from `azure-pipelines.yml`.

Every scalar is text, as in Azure Pipelines' own schema: https://learn.microsoft.com/azure/devops/pipelines/yaml-schema
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.pipeline_templates import TemplateError, read_expanded
from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.systems import AZURE, System

KINDS = ("task", "script", "checkout", "download", "publish")
STEP_KEYS = {"displayName", "name", "condition", "inputs", "env", "artifact"}
CHECKOUT_KEYS = {"fetchDepth", "fetchTags", "persistCredentials"}
JOB_KEYS = {"job", "displayName", "dependsOn", "condition", "variables", "steps"}
LIMIT_KEYS = {"timeoutInMinutes", "cancelTimeoutInMinutes"}
STAGE_KEYS = {"stage", "displayName", "dependsOn", "condition", "jobs", "lockBehavior"}


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        kind: one of `KINDS`.
        value: the script, the task's name, the path to publish or the directory to download to.
        name: prefix of its output variables; empty if it has no name.
        artifact: name of the artifact to publish or download.
    """

    kind: str
    value: str
    title: str
    name: str = ""
    condition: str = "succeeded()"
    inputs: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    artifact: str = ""


@dataclass(frozen=True)
class Job:
    """Steps that run on one agent.

    Attributes:
        depends_on: names of the jobs that must have ended.
        variables: variables of Azure Pipelines, or environment variables of GitHub Actions.
        outputs: name → expression of the outputs that a GitHub job declares; on Azure, steps name them.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    depends_on: tuple[str, ...] = ()
    condition: str = "succeeded()"
    variables: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """Jobs that run one after the other, after the stages that it depends on."""

    name: str
    title: str
    jobs: tuple[Job, ...]
    depends_on: tuple[str, ...] = ()
    condition: str = "succeeded()"


@dataclass(frozen=True)
class Pipeline:
    """The whole file.

    Attributes:
        commit_variable: the variable of a run that has the commit to check out.
    """

    system: System
    commit_variable: str
    variables: Mapping[str, str]
    stages: tuple[Stage, ...]


def read_pipeline(path: Path) -> Pipeline:
    """Read an Azure pipeline.

    Raises:
        RehearsalError: the file uses a feature that is not supported.
    """
    try:
        document = read_expanded(path)
    except TemplateError as exc:
        raise RehearsalError(str(exc)) from exc
    stages: list[Stage] = []
    for given in document["stages"]:
        check_keys(f"stage {given['stage']}", given, STAGE_KEYS)
        stages.append(
            Stage(
                name=given["stage"],
                title=given["displayName"],
                jobs=tuple(map(_job, given["jobs"])),
                depends_on=names(given.get("dependsOn", [stages[-1].name] if stages else [])),
                condition=given.get("condition", "succeeded()"),
            )
        )
    return Pipeline(AZURE, "Build.SourceVersion", document["variables"], tuple(stages))


def check_keys(place: str, given: Mapping[str, Any], known: set[str]) -> None:
    """Raise RehearsalError if `given` has a key that is not known: it would be ignored silently."""
    if unknown := given.keys() - known:
        raise RehearsalError(f"{place}: {', '.join(sorted(unknown))} is not supported")


def names(given: str | list[str]) -> tuple[str, ...]:
    """Return a list of names, which may be a single name in YAML."""
    return (given,) if isinstance(given, str) else tuple(given)


def _job(given: Mapping[str, Any]) -> Job:
    check_keys(f"job {given.get('job', given)}", given, JOB_KEYS | LIMIT_KEYS)
    steps = tuple(map(_step, given["steps"]))
    if all(step.kind != "checkout" for step in steps):
        raise RehearsalError(f"job {given['job']} has no checkout step; expected `checkout: self` or `none`")
    return Job(
        name=given["job"],
        title=given["displayName"],
        steps=steps,
        depends_on=names(given.get("dependsOn", [])),
        condition=given.get("condition", "succeeded()"),
        variables=given.get("variables", {}),
    )


def _step(given: Mapping[str, Any]) -> Step:
    kinds = [kind for kind in KINDS if kind in given]
    if len(kinds) != 1:
        raise RehearsalError(f"step {given}: expected exactly one of {', '.join(KINDS)}")
    check_keys(f"step {given['displayName']}", given, STEP_KEYS | CHECKOUT_KEYS | {kinds[0]})
    artifact = given.get("artifact", "")
    return Step(
        kind=kinds[0],
        value=f"../{artifact}" if kinds[0] == "download" else given[kinds[0]],
        title=given["displayName"],
        name=given.get("name", ""),
        condition=given.get("condition", "succeeded()"),
        inputs=given.get("inputs", {}),
        env=given.get("env", {}),
        artifact=artifact,
    )
