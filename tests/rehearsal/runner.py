"""Run a pipeline's stages, jobs and steps in order, on one machine that plays every agent."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.rehearsal.errors import RehearsalError, StepFailed
from tests.rehearsal.expressions import evaluate
from tests.rehearsal.pipeline import Job, Phase, Pipeline, Stage, Step

MACRO = re.compile(r"\$\(([A-Za-z_][\w.]*)\)")
SET_VARIABLE = re.compile(r"##vso\[task\.setvariable variable=(\w+);isOutput=true\](.*)")
SUCCEEDED, FAILED, SKIPPED = "Succeeded", "Failed", "Skipped"


@dataclass
class Agent:
    """The agent of one phase.

    Attributes:
        workspace: Pipeline.Workspace; the source is checked out into its directory `s`.
        variables: name → value of `$(name)`.
        env: environment variables of the steps' processes.
    """

    workspace: Path
    variables: dict[str, str]
    env: dict[str, str]

    @property
    def sources(self) -> Path:
        """Build.SourcesDirectory."""
        return self.workspace / "s"

    def expand(self, text: str) -> str:
        """Replace `$(name)` in `text`; unknown names are kept, as on an agent."""
        return MACRO.sub(lambda match: self.variables.get(match[1], match[0]), text)


@dataclass
class Run:
    """One run and its results so far.

    Attributes:
        tasks: task name → replacement.
        origin: the repository that agents check out.
        directory: an empty directory for the log, the artifacts and the workspace.
        preinstalled: name → path, linked into each checkout.
        report: called with each line of progress.
        results: stage → `Succeeded`, `Failed` or `Skipped`.
        seconds: stage → duration.
        failures: `stage: step: reason`, in order.
        ended: title of a step → when it first ended, in seconds since the start of the run.
        increments: increments of the canary that were deployed.
        outputs: stage → job → output variables, by `step.variable`.
        log: what the steps printed.
        start_time: of the run, by the monotonic clock.
    """

    pipeline: Pipeline
    tasks: Mapping[str, Callable[[Agent, Mapping[str, str]], None]]
    origin: Path
    directory: Path
    preinstalled: Mapping[str, Path]
    variables: Mapping[str, str]
    env: Mapping[str, str]
    report: Callable[[str], None]
    results: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    ended: dict[str, float] = field(default_factory=dict)
    increments: list[str] = field(default_factory=list)
    outputs: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    log: Path = Path(os.devnull)
    start_time: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether no stage has failed."""
        return FAILED not in self.results.values()

    def start(self) -> "Run":
        """Run all stages and return this run."""
        self.start_time = time.monotonic()
        self.log = self.directory / "log"
        self.log.touch()
        for stage in self.pipeline.stages:
            start = time.monotonic()
            self.results[stage.name] = self._stage(stage)
            self.seconds[stage.name] = time.monotonic() - start
            self.report(
                f"  stage {stage.name}: {self.results[stage.name].lower()}, {self.seconds[stage.name]:.1f} s"
            )
        return self

    def _stage(self, stage: Stage) -> str:
        previous = {self.results[name] for name in stage.depends_on}
        context = {"variables": self.variables, "dependencies": self._dependencies(stage)}
        if not evaluate(stage.condition, context, _status(previous <= {SUCCEEDED})):
            return SKIPPED
        self.outputs[stage.name] = {}
        succeeded = [self._job(stage, job) for job in stage.jobs]
        return SUCCEEDED if all(succeeded) else FAILED

    def _dependencies(self, stage: Stage) -> dict[str, Any]:
        """Return `dependencies` of a stage's condition, with outputs by `job.step.variable`."""
        return {
            name: {
                "result": self.results[name],
                "outputs": {
                    f"{job}.{key}": value
                    for job, outputs in self.outputs.get(name, {}).items()
                    for key, value in outputs.items()
                },
            }
            for name in stage.depends_on
        }

    def _job(self, stage: Stage, job: Job) -> bool:
        dependencies = {
            name: {other: {"outputs": outputs} for other, outputs in self.outputs.get(name, {}).items()}
            for name in stage.depends_on
        }
        context = {"variables": self.variables, "stageDependencies": dependencies}
        variables = {
            name: str(evaluate(value[2:-1], context, {})) if value.startswith("$[") else value
            for name, value in job.variables.items()
        }
        # Variables of the run override those in the file.
        variables |= {name: value for name, value in self.variables.items() if name in variables}
        self.outputs[stage.name][job.name] = {}
        succeeded = True
        for phase in job.phases:
            if phase.when == "always" or (phase.when == "success") == succeeded:
                succeeded &= self._phase(stage, job, phase, variables)
        return succeeded

    def _phase(self, stage: Stage, job: Job, phase: Phase, variables: Mapping[str, str]) -> bool:
        workspace = self.directory / "work"
        shutil.rmtree(workspace, ignore_errors=True)
        (workspace / "s").mkdir(parents=True)
        merged = {**self.variables, **variables, **phase.variables}
        self.increments += [
            phase.variables[name] for name in ["strategy.increment"] if name in phase.variables
        ]
        merged |= {"Pipeline.Workspace": str(workspace), "Build.SourcesDirectory": str(workspace / "s")}
        agent = Agent(workspace, merged, {**os.environ, **self.env})
        steps = phase.steps
        if not job.deployment and all(step.kind != "checkout" for step in steps):
            raise RehearsalError(f"job {job.name} has no checkout step; expected `checkout: self` or `none`")
        if phase.title:
            self.report(f"  {stage.name} {phase.title}")
        succeeded = True
        for step in steps:
            if not evaluate(step.condition, {"variables": merged}, _status(succeeded)):
                continue
            succeeded &= self._step(stage, job, step, agent)
        return succeeded

    def _step(self, stage: Stage, job: Job, step: Step, agent: Agent) -> bool:
        start = time.monotonic()
        agent.env |= {_variable(name): value for name, value in agent.variables.items()}
        failure = None
        with self.log.open("a") as log:
            log.write(f"== {stage.name}: {step.title}\n")
        try:
            printed = self._execute(step, agent)
        except StepFailed as exc:
            failure, printed = str(exc), ""
        for name, value in SET_VARIABLE.findall(printed):
            agent.variables[f"{step.name}.{name}"] = value
            self.outputs[stage.name][job.name][f"{step.name}.{name}"] = value
        self.ended.setdefault(step.title, time.monotonic() - self.start_time)
        result = f"FAILED: {failure}" if failure else "done"
        seconds = time.monotonic() - start
        self.report(f"    {step.title} ({_kind(step)}): {result}, {seconds:.1f} s")
        if failure:
            self.failures.append(f"{stage.name}: {step.title}: {failure}")
        return failure is None

    def _execute(self, step: Step, agent: Agent) -> str:
        value = agent.expand(step.value)
        env = agent.env | {name: agent.expand(value) for name, value in step.env.items()}
        artifacts = self.directory / "artifacts"
        match step.kind:
            case "script":
                return self._bash(value, agent, env)
            case "checkout":
                self._checkout(agent)
            case "download":
                shutil.copytree(artifacts / step.artifact, agent.workspace / step.artifact)
            case "publish":
                source = agent.sources / value
                if not source.exists():
                    raise StepFailed(f"cannot publish {value}: it does not exist")
                shutil.rmtree(artifacts / step.artifact, ignore_errors=True)
                if source.is_dir():
                    shutil.copytree(source, artifacts / step.artifact)
                else:
                    (artifacts / step.artifact).mkdir(parents=True)
                    shutil.copy(source, artifacts / step.artifact)
            case _ if value == "AzureCLI@2":
                inputs = {name: agent.expand(value) for name, value in step.inputs.items()}
                return self._bash(inputs["inlineScript"], agent, env)
            case _ if value not in self.tasks:
                raise RehearsalError(f"the task {value} has no replacement in the rehearsal")
            case _:
                self.tasks[value](agent, {name: agent.expand(value) for name, value in step.inputs.items()})
        return ""

    def _checkout(self, agent: Agent) -> None:
        commit = agent.variables["Build.SourceVersion"]
        sources = str(agent.sources)
        for command in (
            ["clone", "--quiet", str(self.origin), sources],
            ["-C", sources, "checkout", "--quiet", "--detach", commit],
        ):
            subprocess.run(["git", *command], check=True)
        for name, path in self.preinstalled.items():
            (agent.sources / name).symlink_to(path)

    def _bash(self, script: str, agent: Agent, env: Mapping[str, str]) -> str:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=agent.sources,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        with self.log.open("a") as log:
            log.write(done.stdout)
        if done.returncode:
            lines = [line for line in done.stdout.splitlines() if line.strip()]
            raise StepFailed(f"exit code {done.returncode}: {lines[-1] if lines else 'nothing printed'}")
        return done.stdout


def _status(succeeded: bool) -> dict[str, bool]:
    return {"succeeded": succeeded, "failed": not succeeded, "succeededOrFailed": True, "always": True}


def _variable(name: str) -> str:
    """Return a variable's name in the environment of a step."""
    return re.sub(r"[. ]", "_", name).upper()


def _kind(step: Step) -> str:
    return step.value if step.kind == "task" else step.kind
