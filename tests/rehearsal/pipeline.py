"""Reading `azure-pipelines.yml`; every scalar is text, as in Azure Pipelines' own schema.

https://learn.microsoft.com/azure/devops/pipelines/yaml-schema
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.validate_pipelines import read_document
from tests.rehearsal.errors import RehearsalError

KINDS = ("task", "script", "checkout", "download", "publish")


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        kind: one of `KINDS`.
        value: the value of that key, such as the script or the task's name.
        name: prefix of its output variables; empty if it has no name.
    """

    kind: str
    value: str
    title: str
    name: str
    condition: str
    inputs: Mapping[str, str]
    env: Mapping[str, str]
    artifact: str


@dataclass(frozen=True)
class Phase:
    """Steps that run on one agent: those of a job, or of one hook of a deployment.

    Attributes:
        when: `always`, or `success` or `failure` of the phases before.
        variables: variables of the deployment strategy, such as `strategy.increment`.
    """

    title: str
    steps: tuple[Step, ...]
    when: str
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Job:
    """One job, with its phases in order."""

    name: str
    title: str
    variables: Mapping[str, str]
    phases: tuple[Phase, ...]
    deployment: bool


@dataclass(frozen=True)
class Stage:
    """One stage, which runs after the stages that it depends on."""

    name: str
    title: str
    depends_on: tuple[str, ...]
    condition: str
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Pipeline:
    """The whole file."""

    variables: Mapping[str, str]
    stages: tuple[Stage, ...]


def read_pipeline(path: Path) -> Pipeline:
    """Read the pipeline at `path`.

    Raises:
        RehearsalError: the file uses a feature that is not supported.
    """
    document = read_document(path)
    stages: list[Stage] = []
    for given in document["stages"]:
        before = given.get("dependsOn", [stages[-1].name] if stages else [])
        stages.append(
            Stage(
                name=given["stage"],
                title=given["displayName"],
                depends_on=(before,) if isinstance(before, str) else tuple(before),
                condition=given.get("condition", "succeeded()"),
                jobs=tuple(_job(job) for job in given["jobs"]),
            )
        )
    return Pipeline(document.get("variables", {}), tuple(stages))


def _job(given: Mapping[str, Any]) -> Job:
    name = given.get("job") or given["deployment"]
    if "job" in given:
        phases = [Phase("", _steps(given["steps"]), "always", {})]
    else:
        ((strategy, hooks),) = given["strategy"].items()
        phases = list(_phases(strategy, hooks))
    return Job(name, given["displayName"], given.get("variables", {}), tuple(phases), "deployment" in given)


def _phases(strategy: str, hooks: Mapping[str, Any]) -> Iterator[Phase]:
    """Yield the hooks of a deployment in order; `deploy` is repeated for each increment of a canary."""
    unknown = hooks.keys() - {"increments", "deploy", "on"}
    if strategy not in ("runOnce", "canary") or unknown:
        raise RehearsalError(f"the strategy {strategy} with {', '.join(sorted(hooks))} is not supported")
    for increment in hooks.get("increments", [""]):
        title = f"{increment} %" if increment else ""
        yield _phase(title, hooks["deploy"], "success", strategy, "deploy", increment)
    for when, action in (("success", "promote"), ("failure", "reject")):
        if when in hooks.get("on", {}):
            yield _phase(f"on {when}", hooks["on"][when], when, strategy, action)


def _phase(
    title: str, hook: Mapping[str, Any], when: str, strategy: str, action: str, increment: str = ""
) -> Phase:
    variables = {"strategy.name": strategy, "strategy.action": action}
    if increment:
        variables["strategy.increment"] = increment
    return Phase(title, _steps(hook["steps"]), when, variables)


def _steps(given: list[Mapping[str, Any]]) -> tuple[Step, ...]:
    return tuple(_step(step) for step in given)


def _step(given: Mapping[str, Any]) -> Step:
    kinds = [kind for kind in KINDS if kind in given]
    if len(kinds) != 1:
        raise RehearsalError(f"step {given}: expected exactly one of {', '.join(KINDS)}")
    return Step(
        kind=kinds[0],
        value=given[kinds[0]],
        title=given["displayName"],
        name=given.get("name", ""),
        condition=given.get("condition", "succeeded()"),
        inputs=given.get("inputs", {}),
        env=given.get("env", {}),
        artifact=given.get("artifact", ""),
    )
