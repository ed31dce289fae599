"""Tests of the pipeline runner, with small pipelines and real scripts."""

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


ROLLOUT = """\
  - stage: Deploy
    displayName: Deploy
    jobs:
      - job: Rollout
        displayName: Roll out
        steps:
          - checkout: self
            displayName: Check out
          - script: echo began; sleep 30
            displayName: Watch
          - script: echo promoted >>"$TRACE"
            displayName: Promote
          - script: echo rejected >>"$TRACE"
            displayName: Reject
            condition: or(failed(), canceled())
          - script: echo failed >>"$TRACE"
            displayName: After a failure
            condition: failed()
      - job: CleanUp
        displayName: Clean up
        dependsOn: Rollout
        condition: not(in(dependencies.Rollout.result, 'Succeeded', 'SucceededWithIssues'))
        steps:
          - checkout: self
            displayName: Check out
          - script: echo cleaned >>"$TRACE"
            displayName: Clean up
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

    def start(text: str, **options: Any) -> Run:
        path = tmp_path / "pipeline.yml"
        path.write_text(HEAD + text)
        pipeline = read_pipeline(path)
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        values = {**pipeline.variables, "Build.SourceVersion": commit, **options.pop("variables", {})}
        env = {"TRACE": str(tmp_path / "trace")}
        return Run(pipeline, {}, work, directory, {}, values, env, lambda line: None, **options).start()

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


def at(title: str, what: str) -> Callable[[str, str], str]:
    """Return an interrupt that does `what` at the step with this title."""
    return lambda _, step: what if step == title else ""


@pytest.mark.parametrize(
    ("what", "jobs", "trace", "canceled"),
    [
        ("cancel", {"Rollout": "Canceled", "CleanUp": "Succeeded"}, "rejected\ncleaned\n", True),
        ("lose", {"Rollout": "Failed", "CleanUp": "Succeeded"}, "cleaned\n", False),
    ],
)
def test_interrupted(
    run: Callable[..., Run],
    tmp_path: Path,
    what: str,
    jobs: dict[str, str],
    trace: str,
    canceled: bool,
) -> None:
    """After a cancel, steps and jobs follow whose conditions allow it; a lost agent runs no more steps."""
    start = time.monotonic()
    done = run(ROLLOUT + stage("Next", "script: echo next"), interrupt=at("Watch", what))
    assert time.monotonic() - start < 20
    assert done.job_results["Deploy"] == jobs
    assert (tmp_path / "trace").read_text() == trace
    assert done.results["Next"] == "Skipped"
    assert not done.succeeded
    assert done.canceled is canceled
    assert "began" in done.log.read_text()


def test_interrupted_once_reached(run: Callable[..., Run], tmp_path: Path) -> None:
    """A step is interrupted when a condition is true, and not before."""
    begun = tmp_path / "begun"
    steps = f"script: sleep 2; touch {begun}; sleep 30"
    start = time.monotonic()
    done = run(stage("One", steps), interrupt=at("Step 0", "cancel"), reached=begun.exists)
    assert begun.exists()
    assert 2 <= time.monotonic() - start < 20
    assert done.canceled


def test_conditional_job(run: Callable[..., Run], tmp_path: Path) -> None:
    """A job whose condition is false is skipped, which leaves the stage succeeded."""
    done = run(ROLLOUT.replace("sleep 30", "true"))
    assert done.job_results["Deploy"] == {"Rollout": "Succeeded", "CleanUp": "Skipped"}
    assert done.results == {"Deploy": "Succeeded"}
    assert (tmp_path / "trace").read_text() == "promoted\n"


def test_passed(run: Callable[..., Run]) -> None:
    """A stage that has passed before succeeds without running, unless its condition is false."""
    stages = stage("One", "script: 'false'") + stage("Two", "script: 'false'", more="condition: failed()")
    done = run(stages, passed=("One", "Two"))
    assert done.results == {"One": "Succeeded", "Two": "Skipped"}


def test_start_at(run: Callable[..., Run]) -> None:
    """A run that starts at a later stage has the results, outputs and artifacts of the given run."""
    name = "'##vso[task.setvariable variable=name;isOutput=true]kept-$(System.JobAttempt)'"
    first = stage(
        "One",
        f"script: echo {name}\n            name: step",
        "publish: file\n            artifact: kept-$(System.JobAttempt)",
    )
    download = "download: current\n            artifact: $(artifact)"
    second = stage("Two", download, "script: cat ../$(artifact)/file").replace(
        "steps:",
        "variables: {artifact: \"$[ stageDependencies.One.Job.outputs['step.name'] ]\"}\n        steps:",
    )
    before = run(first + second)
    assert before.results == {"One": "Succeeded", "Two": "Succeeded"}, before.failures
    again = run(first + second, start_at="Two", given=before, attempt=2)
    assert again.results == {"One": "Succeeded", "Two": "Succeeded"}, again.failures
    assert "content\n" in again.log.read_text()
    assert list(again.seconds) == ["Two"]
    # A retried stage publishes under another name; under the same it would fail.
    retried = run(first, start_at="One", given=before, attempt=2)
    assert (retried.artifacts / "kept-2").is_dir()
    failed = run(first, start_at="One", given=before)
    assert failed.failures == ["One: Step 1: artifact kept-1 already exists in this run"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (stage("One", "task: Unknown@1"), "Unknown@1 has no replacement"),
        (stage("One", "powershell: x"), "expected exactly one of"),
        (
            ROLLOUT.replace("displayName: Roll out", "displayName: Roll out\n        strategy: {}"),
            "strategy is not",
        ),
        (ROLLOUT.replace("checkout: self", "script: ls"), "has no checkout step"),
    ],
    ids=["task", "step", "key", "no checkout"],
)
def test_unsupported(run: Callable[..., Run], text: str, words: str) -> None:
    """An unsupported task, step or key is an error and never skipped."""
    with pytest.raises(RehearsalError, match=words):
        run(text)
