"""The order and conditions of the release's steps in both systems, with scripts that note their calls."""

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.rehearsal.github import read_workflow
from tests.rehearsal.pipeline import Pipeline, read_pipeline
from tests.rehearsal.runner import CANCELED, FAILED, SKIPPED, SUCCEEDED, Run
from tests.rehearsal.variables import run_variables

ROOT = Path(__file__).parents[2]
PIPELINES = {
    "azure": read_pipeline(ROOT / "azure-pipelines.yml"),
    "github": read_workflow(ROOT / ".github/workflows/release.yml"),
}
# Each script notes its call, and fails or hangs if the run is told so.
NOTE = """\
#!/usr/bin/env bash
set -euo pipefail
call="$(basename "$0")${*:+ $*}"
echo "$call" >>"$TRACE"
[[ -z ${FAIL:-} || $call != $FAIL ]] || { echo "told to fail"; exit 1; }
"""
IMAGE = "registry/demo@sha256:1"
SCRIPTS = {
    "plan": "scripts/output run \"$RUN\"; scripts/output model '--version 3'",
    "retrain": 'scripts/output train "$RUN"',
    "train": "mkdir -p build/{model,model-report,snapshot}; touch build/{model,model-report,snapshot}/file",
    "test": "mkdir -p build; touch build/coverage.xml build/tests.xml",
    "assemble": f"mkdir -p build/release; touch build/release/image; scripts/output image {IMAGE}",
    "in_repository": '"$@"',
    "output": """\
[[ -z ${TF_BUILD:-} ]] || echo "##vso[task.setvariable variable=$1;isOutput=true]$2"
[[ -z ${GITHUB_OUTPUT:-} ]] || echo "$1=$2" >>"$GITHUB_OUTPUT\"""",
    "in_cluster": '[[ $1 != --cluster-only ]] || shift; "$@"',
}
ROLLOUT = [
    "rollout start build/production.yaml",
    "rollout step 10",
    "canary_gate",
    "rollout step 50",
    "canary_gate",
    "rollout promote",
]
RECORDED = [
    f"record --image {IMAGE} --stage production",
    "which",
    f"notify Shipped to production, {IMAGE}",
]
REJECT = "rollout reject"
Start = Callable[..., Run]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the scripts."""
    path = tmp_path_factory.mktemp("origin")
    (path / "scripts").mkdir()
    names = {script.name for script in (ROOT / "scripts").iterdir() if "." not in script.name}
    for name in names - {"__pycache__"}:
        script = path / "scripts" / name
        script.write_text(f"{NOTE}{SCRIPTS.get(name, '')}\n")
        script.chmod(0o755)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "test"]):
        subprocess.run(["git", *command], cwd=path, check=True)
    return path


@pytest.fixture(scope="module")
def begin(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """A function that runs a pipeline."""
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=origin, text=True).strip()
    settings = {"modelStore": "store", "prometheus": "url", "watch": "1s"}

    def begin(
        pipeline: Pipeline, reason: str = "IndividualCI", fail: str = "", run: str = "true", **options: Any
    ) -> Run:
        directory = tmp_path_factory.mktemp("run")
        variables = run_variables(pipeline, reason, 7, commit, {**settings, "testArguments": ""})
        env = {"TRACE": str(directory / "trace"), "FAIL": fail, "RUN": run, "TF_BUILD": "True"}
        tasks = {name: lambda agent, inputs: None for name in tasks_of(pipeline)}
        return Run(
            pipeline, tasks, origin, directory, {}, variables, env, lambda line: None, **options
        ).start()

    return begin


@pytest.fixture(scope="module", params=PIPELINES)
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    """Each of the two pipelines in turn."""
    return PIPELINES[request.param]


@pytest.fixture(scope="module")
def built(begin: Callable[..., Run], pipeline: Pipeline) -> Run:
    """A run without a failure, whose release another run can deploy."""
    return begin(pipeline)


@pytest.fixture
def start(begin: Callable[..., Run], pipeline: Pipeline) -> Start:
    """A function that runs the pipeline."""
    return partial(begin, pipeline)


def tasks_of(pipeline: Pipeline) -> set[str]:
    """Return the names of all tasks and actions."""
    steps = [step for stage in pipeline.stages for job in stage.jobs for step in job.steps]
    return {step.value for step in steps if step.kind == "task"}


def calls(run: Run, stage: str = "Production") -> list[str]:
    """Return how the scripts of a stage were called, without the way to the cluster."""
    lines = (run.directory / "trace").read_text().splitlines()
    wrappers = ("in_cluster", "in_repository", "registry_login")
    found = [line for line in lines if not line.startswith(wrappers)]
    start = {
        "Production": "rollout start build/production.yaml",
        "Staging": "rollout start build/staging.yaml --stage staging",
    }
    begin = found.index(start[stage]) if start[stage] in found else len(found)
    return [line.partition(" --watch")[0] for line in found[begin:]]


def test_released(built: Run) -> None:
    """A good release takes every step once, and nothing is rejected."""
    run = built
    assert set(run.results.values()) == {SUCCEEDED}, run.failures
    assert calls(run) == ROLLOUT + RECORDED
    trace = (run.directory / "trace").read_text()
    # The model is taken up before anything is built, and each deployment verifies the image.
    assert trace.index("record --model --version 3 --stage build") < trace.index("assemble --version 3")
    assert trace.splitlines().count(f"verify_image {IMAGE}") == 2


def test_nothing_new(start: Start) -> None:
    """Without anything to build, all stages after Plan are skipped."""
    run = start("Schedule", run="false")
    assert run.results == dict.fromkeys(run.results, SKIPPED) | {"Plan": SUCCEEDED}


@pytest.mark.parametrize("failing", range(len(ROLLOUT)))
def test_failing_step(start: Start, built: Run, failing: int) -> None:
    """After a step that fails the canary is rejected, by the job and once more by the next."""
    which = ROLLOUT[failing] + (" *" if ROLLOUT[failing] == "canary_gate" else "")
    first = ROLLOUT.index(ROLLOUT[failing])
    run = start(start_at="Production", given=built, fail=which)
    assert run.results["Production"] == FAILED
    assert calls(run) == [*ROLLOUT[: first + 1], REJECT, REJECT]


@pytest.mark.parametrize(
    ("what", "result", "expected"),
    [("cancel", CANCELED, [REJECT, REJECT]), ("lose", FAILED, [REJECT])],
)
@pytest.mark.parametrize(
    ("title", "done"),
    [
        ("Start the rollout", 1),
        ("Canary at 10 %", 2),
        ("Watch the canary at 10 %", 3),
        ("Canary at 50 %", 4),
        ("Watch the canary at 50 %", 5),
        ("Promote the canary", 6),
    ],
)
def test_interrupted_step(
    start: Start, built: Run, what: str, result: str, expected: list[str], title: str, done: int
) -> None:
    """A cancel at any step, and a lost agent, leave no canary and record nothing."""
    run = start(
        start_at="Production",
        given=built,
        interrupt=lambda _, step: what if step == title else "",
    )
    assert run.results["Production"] == result
    assert calls(run) == ROLLOUT[:done] + expected


@pytest.mark.parametrize("what", ["cancel", "lose"])
def test_interrupted_preparation(start: Start, built: Run, what: str) -> None:
    """Before the rollout started, rejecting is tried all the same: it does nothing then."""
    run = start(
        start_at="Production",
        given=built,
        interrupt=lambda _, step: what if step == "Render the manifests" else "",
    )
    assert not run.succeeded
    assert REJECT in (run.directory / "trace").read_text().splitlines()[-1]


def test_failing_record(start: Start, built: Run) -> None:
    """A release that cannot be recorded fails; what was promoted stays, because nothing is left to reject."""
    run = start(start_at="Production", given=built, fail=RECORDED[0])
    assert run.results["Production"] == FAILED
    assert calls(run) == [*ROLLOUT, RECORDED[0], REJECT]
    again = start(start_at="Production", given=run, attempt=2)
    assert again.results["Production"] == SUCCEEDED
    assert calls(again) == ROLLOUT + RECORDED


def test_failing_staging(start: Start) -> None:
    """A release that fails in staging is rejected there, and does not reach production."""
    run = start(fail="rollout promote --stage staging")
    assert (run.results["Staging"], run.results["Production"]) == (FAILED, SKIPPED)
    assert calls(run, "Staging")[-1] == "rollout reject --stage staging"


def test_retried_build(start: Start, built: Run) -> None:
    """A build that is retried publishes its release under another name, which later stages download."""
    again = start(start_at="Build", given=built, attempt=2)
    assert set(again.results.values()) == {SUCCEEDED}, again.failures
    assert {path.name for path in again.artifacts.iterdir()} >= {"release-1", "release-2"}
