"""The order and conditions of the training's steps in both systems, with scripts that note their calls."""

from functools import partial
from pathlib import Path

import pytest

from tests.rehearsal.github import read_workflow
from tests.rehearsal.pipeline import Pipeline, read_pipeline
from tests.rehearsal.runner import FAILED, SKIPPED, SUCCEEDED, Run
from tests.rehearsal.test_release_flow import Start
from tests.rehearsal.test_release_flow import begin as begin
from tests.rehearsal.test_release_flow import origin as origin

ROOT = Path(__file__).parents[2]
PIPELINES = {
    "azure": read_pipeline(ROOT / "azure-pipelines-train.yml"),
    "github": read_workflow(ROOT / ".github/workflows/train.yml"),
}
PARTS = ["train --only snapshot", "train --only train", "train --only gate", "train --only publish"]


@pytest.fixture(scope="module", params=PIPELINES)
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    """Each of the two pipelines in turn."""
    return PIPELINES[request.param]


@pytest.fixture
def start(begin: Start, pipeline: Pipeline) -> Start:
    """A function that runs the pipeline."""
    return partial(begin, pipeline)


def calls(run: Run) -> list[str]:
    """Return how the scripts were called, without the ends that only one of the systems has."""
    lines = (run.directory / "trace").read_text().splitlines()
    return [
        line.partition(" --sign-key")[0].partition(" --prometheus")[0]
        for line in lines
        if not line.startswith(("output", "start_release"))
    ]


def test_trained(start: Start) -> None:
    """Granted, every part runs once and in order; package, reports and snapshot are kept."""
    run = start("ResourceTrigger")
    assert set(run.results.values()) == {SUCCEEDED}, run.failures
    assert calls(run) == ["retrain", *PARTS]
    assert {path.name for path in run.artifacts.iterdir()} == {"package-1", "report-1", "snapshot-1"}


def test_refused(start: Start) -> None:
    """Refused, nothing is trained and nothing fails."""
    run = start("Schedule", run="false")
    assert run.results == dict.fromkeys(run.results, SKIPPED) | {"Decide": SUCCEEDED}
    assert calls(run) == ["retrain"]


@pytest.mark.parametrize("failing", range(3))
def test_failing_part(start: Start, failing: int) -> None:
    """After a part that fails nothing is published, and what there is is kept."""
    run = start(fail=PARTS[failing])
    assert run.results["Train"] == FAILED
    assert calls(run) == ["retrain", *PARTS[: failing + 1]]
    if failing:
        assert {path.name for path in run.artifacts.iterdir()} == {"package-1", "report-1", "snapshot-1"}
