"""How Azure Pipelines and GitHub Actions differ: in expressions, variables and outputs.

https://learn.microsoft.com/azure/devops/pipelines/process/run-stages
https://docs.github.com/actions/reference/workflows-and-actions/contexts
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.rehearsal import expressions, github_expressions
from tests.rehearsal.agent import Agent, github_values

SUCCEEDED, FAILED, CANCELED, SKIPPED = "Succeeded", "Failed", "Canceled", "Skipped"
GITHUB_RESULTS = {SUCCEEDED: "success", FAILED: "failure", CANCELED: "cancelled", SKIPPED: "skipped"}
MACRO = re.compile(r"\$\(([A-Za-z_][\w.]*)\)")
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
SET_VARIABLE = re.compile(r"##vso\[task\.setvariable variable=(\w+);isOutput=true\](.*)")
Context = Mapping[str, Any]
Outputs = Mapping[str, Mapping[str, Mapping[str, str]]]


@dataclass(frozen=True)
class Status:
    """What has happened before a stage, job or step: the status functions of conditions."""

    succeeded: bool
    failed: bool
    canceled: bool


@dataclass(frozen=True)
class State:
    """What a run has done so far.

    Attributes:
        variables: variables of the run; on GitHub those of the repository and the event.
        env: environment variables of all steps.
        attempt: of the jobs that run now.
        results: stage → result.
        job_results: stage → job → result.
        outputs: stage → job → name → value.
    """

    variables: Mapping[str, str]
    env: Mapping[str, str]
    attempt: int
    results: Mapping[str, str]
    job_results: Mapping[str, Mapping[str, str]]
    outputs: Outputs


class System(Protocol):
    """A system that runs pipelines."""

    def evaluate(self, text: str, context: Context, status: Status) -> Any:
        """Return the value of a condition."""

    def expand(self, text: str, context: Context) -> str:
        """Replace the expressions in `text`."""

    def stage_context(self, state: State, depends_on: tuple[str, ...]) -> dict[str, Any]:
        """Return the values for a stage's condition."""

    def job_context(self, state: State, stage: str, depends_on: tuple[str, ...]) -> dict[str, Any]:
        """Return the values for a job's condition and variables."""

    def agent(self, state: State, variables: Mapping[str, str], context: Context, workspace: Path) -> Agent:
        """Return the agent of a job that has these variables."""

    def outputs(self, agent: Agent, step: str, printed: str) -> dict[str, str]:
        """Return the outputs of a step that has ended, after making them visible to the job's later steps."""


class Azure:
    """Azure Pipelines: `$[ expression ]`, `$(variable)`, outputs that are printed."""

    def evaluate(self, text: str, context: Context, status: Status) -> Any:
        """Return the value of a condition."""
        functions = {
            "succeeded": status.succeeded,
            "failed": status.failed,
            "canceled": status.canceled,
            "succeededOrFailed": not status.canceled,
            "always": True,
        }
        return expressions.evaluate(text, context, functions)

    def expand(self, text: str, context: Context) -> str:
        """Replace a runtime expression, or each `$(name)`; unknown names are kept, as on an agent."""
        if text.startswith("$["):
            return str(expressions.evaluate(text[2:-1], context, {}))
        variables = context["variables"]
        return MACRO.sub(lambda match: str(variables.get(match[1], match[0])), text)

    def stage_context(self, state: State, depends_on: tuple[str, ...]) -> dict[str, Any]:
        """Return `variables`, and `dependencies` with the outputs by `job.step.variable`."""
        dependencies = {}
        for stage in depends_on:
            outputs = {
                f"{job}.{name}": value
                for job, values in state.outputs.get(stage, {}).items()
                for name, value in values.items()
            }
            dependencies[stage] = {"result": state.results[stage], "outputs": outputs}
        return {"variables": state.variables, "dependencies": dependencies}

    def job_context(self, state: State, stage: str, depends_on: tuple[str, ...]) -> dict[str, Any]:
        """Return `variables`, `dependencies` on jobs of the stage, and `stageDependencies`."""
        jobs = state.job_results.get(stage, {})
        return {
            "variables": state.variables,
            "dependencies": {job: {"result": jobs[job]} for job in depends_on},
            "stageDependencies": {
                name: {job: {"outputs": values} for job, values in outputs.items()}
                for name, outputs in state.outputs.items()
            },
        }

    def agent(self, state: State, variables: Mapping[str, str], context: Context, workspace: Path) -> Agent:
        """Return an agent whose variables are also environment variables of its steps."""
        # Variables of the run override those in the file.
        overridden = {name: value for name, value in state.variables.items() if name in variables}
        known = {**state.variables, **variables, **overridden}
        known |= {"System.JobAttempt": str(state.attempt), "Pipeline.Workspace": str(workspace)}
        known["Build.SourcesDirectory"] = str(workspace / "s")
        agent = Agent(workspace, known, {**os.environ, **state.env}, {**context, "variables": known})
        self._export(agent)
        return agent

    def outputs(self, agent: Agent, step: str, printed: str) -> dict[str, str]:
        """Return the output variables that a step has printed, by `step.variable`."""
        found = {f"{step}.{name}": value for name, value in SET_VARIABLE.findall(printed)}
        agent.variables |= found
        self._export(agent)
        return found

    def _export(self, agent: Agent) -> None:
        agent.env |= {re.sub(r"[. ]", "_", name).upper(): value for name, value in agent.variables.items()}


class GitHub:
    """GitHub Actions: `${{ expression }}`, environment variables, outputs that are written to a file."""

    def evaluate(self, text: str, context: Context, status: Status) -> Any:
        """Return the value of an `if`, with or without `${{ }}`."""
        functions = {
            "success": status.succeeded,
            "failure": status.failed,
            "cancelled": status.canceled,
            "always": True,
        }
        return github_expressions.evaluate(text, context, functions)

    def expand(self, text: str, context: Context) -> str:
        """Replace each `${{ expression }}`."""
        return EXPRESSION.sub(
            lambda match: github_expressions.as_text(github_expressions.evaluate(match[1], context, {})), text
        )

    def stage_context(self, state: State, depends_on: tuple[str, ...]) -> dict[str, Any]:
        """Return nothing: only jobs have conditions."""
        return {}

    def job_context(self, state: State, stage: str, depends_on: tuple[str, ...]) -> dict[str, Any]:
        """Return `github`, `vars` and `needs`, `inputs` of INPUT_…, and no `secrets`."""
        results = {job: result for each in state.job_results.values() for job, result in each.items()}
        outputs = {job: values for each in state.outputs.values() for job, values in each.items()}
        needs = {
            job: {"result": GITHUB_RESULTS[results[job]], "outputs": outputs.get(job, {})}
            for job in depends_on
        }
        github = {
            name.removeprefix("GITHUB_").lower(): value
            for name, value in state.variables.items()
            if name.startswith("GITHUB_")
        }
        github["run_attempt"] = str(state.attempt)
        inputs = {
            name.removeprefix("INPUT_").lower(): value
            for name, value in state.variables.items()
            if name.startswith("INPUT_")
        }
        return {"github": github, "vars": state.variables, "needs": needs, "inputs": inputs, "secrets": {}}

    def agent(self, state: State, variables: Mapping[str, str], context: Context, workspace: Path) -> Agent:
        """Return an agent whose steps have the job's variables, and those that GitHub sets."""
        env = {**os.environ, **state.env}
        env.pop("TF_BUILD", None)
        env |= {name: value for name, value in state.variables.items() if name.startswith("GITHUB_")}
        env |= {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ATTEMPT": str(state.attempt), **variables}
        known = {**context, "env": dict(variables), "steps": {}, "runner": {"temp": str(workspace)}}
        agent = Agent(workspace, {}, env, known)
        env |= {"GITHUB_WORKSPACE": str(agent.sources), "RUNNER_TEMP": str(workspace)}
        env |= {"GITHUB_OUTPUT": str(agent.output_file), "GITHUB_ENV": str(agent.env_file)}
        for path in (agent.output_file, agent.env_file):
            path.touch()
        return agent

    def outputs(self, agent: Agent, step: str, printed: str) -> dict[str, str]:
        """Make the outputs visible as `steps`. The job declares which of them other jobs see."""
        agent.context["steps"][step] = {"outputs": github_values(agent.output_file)}
        agent.env |= github_values(agent.env_file)
        for path in (agent.output_file, agent.env_file):
            path.write_text("")
        return {}


AZURE, GITHUB = Azure(), GitHub()
