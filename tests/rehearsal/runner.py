"""Run a pipeline's stages, jobs and steps in order, on one machine that plays every agent."""

import copy
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.rehearsal.agent import CANCEL, LOSE, Agent, checkout, download, publish, remove, run_script
from tests.rehearsal.errors import RehearsalError, StepFailed
from tests.rehearsal.pipeline import Job, Pipeline, Stage, Step
from tests.rehearsal.systems import CANCELED, FAILED, SKIPPED, SUCCEEDED, State, Status

LOST = "Lost"
__all__ = ["CANCELED", "FAILED", "SKIPPED", "SUCCEEDED", "Agent", "Run"]
Task = Callable[[Agent, Mapping[str, str]], str | None]


@dataclass
class Run:
    """One run and its results so far.

    Attributes:
        tasks: name of a task or action → replacement.
        origin: the repository that agents check out.
        directory: an empty directory for the log, the artifacts and the workspace.
        preinstalled: name → path, linked into each checkout.
        report: called with each line of progress.
        start_at: first stage to run; the earlier ones have the results, outputs and artifacts of `given`.
        interrupt: called with the stage and the step's title when a step starts. It returns "", `cancel` to
            cancel the run during the step, or `lose` to lose the job's agent.
        reached: a script that is interrupted runs until this is true; default: for a second.
        passed: stages that succeed without running, because another run has run them.
        attempt: of the jobs; more than 1 if a stage is retried.
        results: stage → `Succeeded`, `Failed`, `Canceled` or `Skipped`.
        job_results: stage → job → its result.
        canceled: whether the run was canceled.
        seconds: stage → duration.
        failures: `stage: step: reason`, in order.
        ended: title of a step → when it first ended, in seconds since the start of the run.
        outputs: stage → job → outputs; on Azure by `step.variable`.
        log: what the steps printed.
        start_time: of the run, by the monotonic clock.
    """

    pipeline: Pipeline
    tasks: Mapping[str, Task]
    origin: Path
    directory: Path
    preinstalled: Mapping[str, Path]
    variables: Mapping[str, str]
    env: Mapping[str, str]
    report: Callable[[str], None]
    start_at: str = ""
    given: "Run | None" = None
    interrupt: Callable[[str, str], str] | None = None
    reached: Callable[[], bool] | None = None
    passed: Collection[str] = ()
    attempt: int = 1
    results: dict[str, str] = field(default_factory=dict)
    job_results: dict[str, dict[str, str]] = field(default_factory=dict)
    canceled: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    ended: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    log: Path = Path(os.devnull)
    start_time: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether no stage has failed or was canceled."""
        return {FAILED, CANCELED}.isdisjoint(self.results.values())

    @property
    def artifacts(self) -> Path:
        """Directory of the published artifacts."""
        return self.directory / "artifacts"

    def start(self) -> "Run":
        """Run all stages, or those from `start_at` on, and return this run."""
        self.start_time = time.monotonic()
        self.log = self.directory / "log"
        self.log.touch()
        if self.start_at:
            self._take_over()
        for stage in self.pipeline.stages:
            if stage.name in self.results:
                continue
            start = time.monotonic()
            self.results[stage.name] = self._stage(stage)
            self.seconds[stage.name] = time.monotonic() - start
            self.report(
                f"  stage {stage.name}: {self.results[stage.name].lower()}, {self.seconds[stage.name]:.1f} s"
            )
        return self

    def _take_over(self) -> None:
        """Take over the stages before `start_at` from the given run."""
        names = [stage.name for stage in self.pipeline.stages]
        if self.start_at not in names or self.given is None:
            raise RehearsalError(
                f"cannot start at {self.start_at!r}: expected one of {names} and a given run"
            )
        for name in names[: names.index(self.start_at)]:
            self.results[name] = self.given.results[name]
            self.job_results[name] = copy.deepcopy(self.given.job_results.get(name, {}))
            self.outputs[name] = copy.deepcopy(self.given.outputs.get(name, {}))
        if self.given.artifacts.exists():
            shutil.copytree(self.given.artifacts, self.artifacts)

    def _state(self) -> State:
        return State(self.variables, self.env, self.attempt, self.results, self.job_results, self.outputs)

    def _status(self, results: Iterable[str]) -> Status:
        """Return the status for a stage or job, from the results of what it depends on."""
        found = set(results)
        return Status(found <= {SUCCEEDED} and not self.canceled, FAILED in found, self.canceled)

    def _stage(self, stage: Stage) -> str:
        context = self.pipeline.system.stage_context(self._state(), stage.depends_on)
        status = self._status(self.results[name] for name in stage.depends_on)
        if not self.pipeline.system.evaluate(stage.condition, context, status):
            return SKIPPED
        results = self.job_results[stage.name] = {}
        self.outputs[stage.name] = {}
        if stage.name in self.passed:
            results |= {job.name: SUCCEEDED for job in stage.jobs}
            return SUCCEEDED
        for job in stage.jobs:
            results[job.name] = self._job(stage, job)
        return next(each for each in (FAILED, CANCELED, SUCCEEDED, SKIPPED) if each in results.values())

    def _job(self, stage: Stage, job: Job) -> str:
        system = self.pipeline.system
        context = system.job_context(self._state(), stage.name, job.depends_on)
        ended = {name: result for each in self.job_results.values() for name, result in each.items()}
        # Jobs of different stages can have the same name on Azure; a job depends on those of its own stage.
        ended |= self.job_results[stage.name]
        if not system.evaluate(job.condition, context, self._status(ended[name] for name in job.depends_on)):
            return SKIPPED
        if len(stage.jobs) > 1:
            self.report(f"  job {job.title}")
        workspace = self.directory / "work"
        remove(workspace)
        (workspace / "s").mkdir(parents=True)
        variables = {name: system.expand(value, context) for name, value in job.variables.items()}
        agent = system.agent(self._state(), variables, context, workspace)
        outputs = self.outputs[stage.name][job.name] = {}
        result = SUCCEEDED
        for step in job.steps:
            status = Status(result == SUCCEEDED, result == FAILED, result == CANCELED)
            if not system.evaluate(step.condition, agent.context, status):
                continue
            outcome, printed = self._step(stage, step, agent)
            if outcome == LOST:
                return FAILED
            outputs |= system.outputs(agent, step.name, printed)
            if CANCELED in (result, outcome):
                result = CANCELED
            elif outcome == FAILED:
                result = FAILED
        outputs |= {name: system.expand(value, agent.context) for name, value in job.outputs.items()}
        return result

    def _step(self, stage: Stage, step: Step, agent: Agent) -> tuple[str, str]:
        """Run a step; return its outcome, and what it printed."""
        interrupt = self.interrupt(stage.name, step.title) if self.interrupt else ""
        if interrupt not in ("", CANCEL, LOSE):
            raise RehearsalError(f"interrupt: expected '', '{CANCEL}' or '{LOSE}', got {interrupt!r}")
        start = time.monotonic()
        with self.log.open("a") as log:
            log.write(f"== {stage.name}: {step.title}\n")
        outcome, printed, reason = SUCCEEDED, "", "done"
        try:
            printed = self._execute(step, agent, interrupt)
        except StepFailed as exc:
            outcome, reason = FAILED, f"FAILED: {exc}"
            self.failures.append(f"{stage.name}: {step.title}: {exc}")
        if interrupt:
            outcome, reason = (CANCELED, "canceled") if interrupt == CANCEL else (LOST, "the agent was lost")
            self.canceled |= interrupt == CANCEL
            self.failures.append(f"{stage.name}: {step.title}: {reason}")
        self.ended.setdefault(step.title, time.monotonic() - self.start_time)
        kind = step.value if step.kind == "task" else step.kind
        self.report(f"    {step.title} ({kind}): {reason}, {time.monotonic() - start:.1f} s")
        return outcome, printed

    def _execute(self, step: Step, agent: Agent, interrupt: str) -> str:
        """Execute a step and return what it printed. Only scripts are interrupted before they end."""

        def expand(text: str) -> str:
            return self.pipeline.system.expand(text, agent.context)

        value, artifact = expand(step.value), self.artifacts / expand(step.artifact)
        inputs = {name: expand(text) for name, text in step.inputs.items()}
        env = agent.env | {name: expand(text) for name, text in step.env.items()}
        if value == "AzureCLI@2":
            env["REHEARSAL_IDENTITY"] = inputs["azureSubscription"]  # see cluster/permissions.py
        script = value if step.kind == "script" else inputs["inlineScript"] if value == "AzureCLI@2" else None
        if script is not None:
            return run_script(script, agent, env, self.log, interrupt, self.reached)
        match step.kind:
            case "checkout":
                checkout(agent, self.origin, self.variables[self.pipeline.commit_variable], self.preinstalled)
            case "download":
                download(artifact, agent.sources / value)
            case "publish":
                publish(agent.sources / value, artifact)
            case _ if value not in self.tasks:
                raise RehearsalError(f"{value} has no replacement in the rehearsal")
            case _:
                return self.tasks[value](agent, inputs) or ""
        return ""
