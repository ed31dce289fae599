"""Tests of the pipeline runner, with small pipelines and real scripts."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.pipeline import read_pipeline
from tests.rehearsal.runner import Run

HEAD = "variables: {who: world}\nstages:\n"


def stage(name: str, *steps: str, more: str = "") -> str:
    """Return the YAML of a stage with one job that checks out and runs `steps`."""
    lines = [f"  - stage: {name}", f"    displayName: {name}", *([f"    {more}"] if more else [])]
    lines += ["    jobs:", "      - job: Job", "        displayName: Job", "        steps:"]
    lines += ["          - checkout: self", "            displayName: Check out"]
    for number, step in enumerate(steps):
        lines += [f"          - {step}", f"            displayName: Step {number}"]
    return "\n".join(lines) + "\n"


CANARY = """\
  - stage: Deploy
    displayName: Deploy
    jobs:
      - deployment: Deployed
        displayName: Deploy
        environment: production
        variables:
          bad: ""
        strategy:
          canary:
            increments: [10, 50]
            deploy:
              steps:
                - script: ls; test "$(strategy.increment)" != "$(bad)"
                  displayName: Increment
            on:
              failure:
                steps:
                  - script: echo $(strategy.action) >>"$TRACE"
                    displayName: Failure
              success:
                steps:
                  - script: echo $(strategy.action) >>"$TRACE"
                    displayName: Success
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """A function that runs a pipeline's YAML on a repository with one file, `file`."""
    work = tmp_path / "origin"
    work.mkdir()
    (work / "file").write_text("content\n")
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "test"]):
        subprocess.run(["git", *command], cwd=work, check=True)
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=work, text=True).strip()

    def start(text: str, **variables: str) -> Run:
        path = tmp_path / "pipeline.yml"
        path.write_text(HEAD + text)
        pipeline = read_pipeline(path)
        directory = tmp_path / "run"
        directory.mkdir()
        values = {**pipeline.variables, "Build.SourceVersion": commit, **variables}
        env = {"TRACE": str(tmp_path / "trace")}
        return Run(pipeline, {}, work, directory, {}, values, env, lambda line: None).start()

    return start


def test_scripts(run: Callable[..., Run]) -> None:
    """Scripts run in the checkout; known variables are expanded and exported, unknown ones are kept."""
    done = run(stage("One", "script: cat file; echo \"$(who) $WHO\" '$(unknown)'"))
    assert done.results == {"One": "Succeeded"}
    assert "content\nworld world $(unknown)\n" in done.log.read_text()


def test_failure(run: Callable[..., Run]) -> None:
    """After a failed step only steps with `always()` run, and stages that depend on the stage are skipped."""
    steps = ["script: echo why; false", "script: echo never", "{script: echo cleaned, condition: always()}"]
    steps[2] = "script: echo cleaned\n            condition: always()"
    done = run(stage("One", *steps) + stage("Two", "script: echo two"))
    assert done.results == {"One": "Failed", "Two": "Skipped"}
    assert done.failures == ["One: Step 0: exit code 1: why"]
    assert "cleaned" in done.log.read_text()
    assert "never" not in done.log.read_text()


def test_outputs(run: Callable[..., Run]) -> None:
    """An output variable is visible in the job's later steps and in a later stage's condition."""
    command = "##vso[task.setvariable variable=go;isOutput=true]no"
    first = stage("One", f"script: echo '{command}'\n            name: step", "script: echo got $(step.go)")
    done = run(
        first
        + stage("Two", "script: 'true'", more="condition: eq(dependencies.One.outputs['Job.step.go'], 'yes')")
    )
    assert done.results == {"One": "Succeeded", "Two": "Skipped"}
    assert "got no" in done.log.read_text()


@pytest.mark.parametrize(
    ("bad", "result", "increments", "action"),
    [
        ("", "Succeeded", ["10", "50"], "promote"),
        ("10", "Failed", ["10"], "reject"),
        ("50", "Failed", ["10", "50"], "reject"),
    ],
)
def test_canary(
    run: Callable[..., Run], tmp_path: Path, bad: str, result: str, increments: list[str], action: str
) -> None:
    """A canary continues only if the previous increment succeeded, and ends with one of its hooks."""
    done = run(CANARY, bad=bad or "none")
    assert done.results == {"Deploy": result}
    assert done.increments == increments
    assert (tmp_path / "trace").read_text() == f"{action}\n"


def test_deployment_checks_nothing_out(run: Callable[..., Run]) -> None:
    """A deployment's workspace is empty unless a step checks out."""
    done = run(CANARY.replace("ls;", "test -e file;"), bad="none")
    assert done.results == {"Deploy": "Failed"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (stage("One", "task: Unknown@1"), "the task Unknown@1 has no replacement"),
        (stage("One", "powershell: x"), "expected exactly one of"),
        (CANARY.replace("deploy:\n", "preDeploy:\n", 1), "is not supported"),
    ],
    ids=["task", "step", "hook"],
)
def test_unsupported(run: Callable[..., Run], text: str, words: str) -> None:
    """An unsupported task, step or hook is an error and never skipped."""
    with pytest.raises(RehearsalError, match=words):
        run(text)
