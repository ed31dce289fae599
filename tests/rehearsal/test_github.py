"""Tests of reading and running GitHub's workflows."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.github import read_workflow
from tests.rehearsal.github_expressions import evaluate
from tests.rehearsal.runner import Run

ROOT = Path(__file__).parents[2]
WORKFLOW = """\
name: Test
on: push
env:
  WHO: ${{ vars.WHO }}
jobs:
  first:
    name: First
    outputs:
      go: ${{ steps.decide.outputs.go }}
      artifact: kept-${{ github.run_attempt }}
    steps:
      - name: Check out
        uses: actions/checkout@0
      - name: Decide
        id: decide
        run: echo "go=yes" >>"$GITHUB_OUTPUT"; echo "LATER=set" >>"$GITHUB_ENV"
      - name: Show
        env:
          SEEN: ${{ steps.decide.outputs.go }}
        run: echo "$WHO saw $SEEN, $LATER, ${TF_BUILD:-no Azure}"; cat file
      - name: Keep
        uses: actions/upload-artifact@0
        with:
          name: kept-${{ github.run_attempt }}
          path: file
  second:
    name: Second
    needs: first
    if: needs.first.outputs.go == 'yes' && github.ref == 'refs/heads/main'
    steps:
      - name: Check out
        uses: actions/checkout@0
      - name: Get
        uses: actions/download-artifact@0
        with:
          name: ${{ needs.first.outputs.artifact }}
          path: got
      - name: Work
        run: cat got/file; sleep ${{ vars.SLEEP || '0' }}
      - name: Reject
        if: failure() || cancelled()
        run: echo rejected
  second-clean-up:
    name: Clean up
    needs: second
    if: always() && (needs.second.result == 'failure' || needs.second.result == 'cancelled')
    steps:
      - name: Clean up
        run: echo cleaned
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """A function that runs a workflow's YAML on a repository with one file, `file`."""
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "file").write_text("content\n")
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "test"]):
        subprocess.run(["git", *command], cwd=origin, check=True)
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=origin, text=True).strip()

    def start(text: str = WORKFLOW, interrupt: Any = None, **variables: str) -> Run:
        (tmp_path / "workflow.yml").write_text(text)
        (tmp_path / "run").mkdir()
        values = {"GITHUB_SHA": commit, "GITHUB_REF": "refs/heads/main", "WHO": "world", **variables}
        env = {"TF_BUILD": "True"}
        return Run(
            pipeline=read_workflow(tmp_path / "workflow.yml"),
            tasks={},
            origin=origin,
            directory=tmp_path / "run",
            preinstalled={},
            variables=values,
            env=env,
            report=lambda line: None,
            interrupt=interrupt,
        ).start()

    return start


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/workflows/*.yml")), ids=lambda path: path.name)
def test_readable(path: Path) -> None:
    """The rehearsal can read every workflow."""
    assert read_workflow(path).stages


def test_outputs(run: Callable[..., Run]) -> None:
    """Outputs, variables and artifacts reach later steps and jobs; a job may be skipped."""
    done = run()
    assert done.results == {"First": "Succeeded", "Second": "Succeeded"}, done.failures
    assert done.job_results["Second"] == {"second": "Succeeded", "second-clean-up": "Skipped"}
    assert done.outputs["First"]["first"] == {"go": "yes", "artifact": "kept-1"}
    log = done.log.read_text()
    assert "world saw yes, set, no Azure\ncontent\n" in log
    assert "rejected" not in log


def test_skipped(run: Callable[..., Run]) -> None:
    """A stage whose jobs are all skipped is skipped."""
    done = run(GITHUB_REF="refs/heads/other")
    assert done.results == {"First": "Succeeded", "Second": "Skipped"}


@pytest.mark.parametrize(("what", "rejected"), [("cancel", True), ("lose", False)])
def test_interrupted(run: Callable[..., Run], what: str, rejected: bool) -> None:
    """A cancelled job runs its last steps, a lost one does not; both are cleaned up by the next job."""
    done = run(interrupt=lambda _, title: what if title == "Work" else "", SLEEP="30")
    assert done.job_results["Second"]["second-clean-up"] == "Succeeded"
    assert ("rejected" in done.log.read_text()) is rejected
    assert "cleaned" in done.log.read_text()
    assert not done.succeeded


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("on: push", "on: push\nruns: x", "runs is not supported"),
        ("needs: first\n", "needs: first\n    strategy: {}\n", "strategy is not supported"),
        ("        id: decide\n", "        id: decide\n        shell: sh\n", "shell is not supported"),
        ("actions/upload-artifact@0", "unknown/action@0", "unknown/action has no replacement"),
        ('"go=yes"', '"go<<END"', "expected NAME=VALUE"),
    ],
)
def test_unsupported(run: Callable[..., Run], old: str, new: str, words: str) -> None:
    """What the runner does not support is an error and never skipped."""
    assert old in WORKFLOW
    with pytest.raises(RehearsalError, match=words):
        run(WORKFLOW.replace(old, new))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("success()", True),
        ("!success()", False),
        ("failure() || cancelled()", False),
        ("always() && (needs.a.result == 'FAILURE' || false)", True),
        ("needs.a.outputs.none == ''", True),
        ("github['ref'] != 'x'", True),
        ("vars.none || '10m'", "10m"),
        ("${{ vars.set }}", "it's"),
        ("vars.set == 'it''s'", True),
    ],
)
def test_expression(text: str, value: object) -> None:
    """An expression has the value that it has on a runner."""
    context = {"needs": {"a": {"result": "failure"}}, "github": {"ref": "main"}, "vars": {"set": "it's"}}
    functions = {"success": True, "failure": False, "cancelled": False, "always": True}
    assert evaluate(text, context, functions) == value


@pytest.mark.parametrize("text", ["", "fromJSON('1')", "inputs.x", "(success()", "'a' 'b'", "a = b", "vars."])
def test_invalid_expression(text: str) -> None:
    """An unsupported expression is an error and never evaluates to false."""
    with pytest.raises(RehearsalError, match="expression"):
        evaluate(text, {"vars": {}}, {"success": True})
