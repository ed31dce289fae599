"""What the scenarios assert about a run, the cluster and the client's responses."""

import json
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.rehearsal.client import Response
from tests.rehearsal.rehearsal import NAMESPACE, Rehearsal, report
from tests.rehearsal.runner import SUCCEEDED, Run

MAX_GAP_S = 1.0
CANARY_SHARE = 0.10  # the pipeline's first increment
SETTLED_S = 30.0


@dataclass(frozen=True)
class Snapshot:
    """What a run that releases nothing must not change."""

    images: dict[str, set[str]]
    objects: dict[str, Any]
    lock: str
    head: str


def snapshot(rehearsal: Rehearsal) -> Snapshot:
    """Return what production runs, and what is recorded."""
    objects = rehearsal.parts.cluster.objects(NAMESPACE)
    # The autoscaler changes it at any time.
    objects["Deployment/demo"]["spec"].pop("replicas")
    return Snapshot(rehearsal.images(), objects, rehearsal.lock(), rehearsal.head())


def assert_unchanged(rehearsal: Rehearsal, before: Snapshot, start: float) -> None:
    """Assert that production is as before soon, with all its objects, and that no request has failed."""
    deadline = time.monotonic() + SETTLED_S
    while (after := snapshot(rehearsal)) != before and time.monotonic() < deadline:
        time.sleep(0.5)
    for name in before.objects.keys() | after.objects.keys():
        assert after.objects.get(name) == before.objects.get(name), name
    assert after == before
    assert_no_failed_request(rehearsal, start)


def assert_released(rehearsal: Rehearsal, run: Run, model: str) -> None:
    """Assert that all stages passed, and that cluster, lock file and release log agree on the release."""
    assert set(run.results.values()) == {SUCCEEDED}, run.failures
    *_, last = releases(rehearsal)
    assert rehearsal.images() == {"stable": {last["image"]}}
    assert rehearsal.scale_down_policy() == "Max"
    assert last["model"].startswith(f"{model}@")
    assert rehearsal.lock() == model
    assert last["commit"] == rehearsal.commit_of(run)


def releases(rehearsal: Rehearsal) -> list[dict[str, str]]:
    """Return the release log in the origin."""
    rehearsal.pull()
    return [json.loads(line) for line in (rehearsal.clone / "releases.jsonl").read_text().splitlines()]


def image_of(run: Run) -> str:
    """Return the image that a run has built."""
    outputs = run.outputs["Build"]["Image"]
    return next(value for name, value in outputs.items() if name.rpartition(".")[2] == "image")


def model_of(run: Run) -> str:
    """Return the model that a run has built into its image, as `wine/N`."""
    (lock,) = run.artifacts.glob("release*/model.lock")
    document = json.loads(lock.read_text())
    return f"{document['name']}/{document['version']}"


def assert_no_failed_request(rehearsal: Rehearsal, start: float) -> None:
    """Assert that requests were sent and none has failed."""
    rehearsal.wait_for_requests_in_flight()
    responses = rehearsal.client.since(start)
    failed = rehearsal.failed(responses)
    report(f"  client: {len(responses)} requests, {len(failed)} failed")
    assert responses
    assert not failed, failed[:3]


def assert_stable_responds(rehearsal: Rehearsal, start: float) -> None:
    """Assert that the stable pods responded at least once in every second."""
    rehearsal.wait_for_requests_in_flight()
    responses = rehearsal.client.since(start)
    times = [each.at for each in rehearsal.by_track(responses, "stable") if each.status == 200]
    gap = max(later - earlier for earlier, later in pairwise(times))
    report(f"  client: {len(responses)} requests, {len(times)} answered by stable, longest gap {gap:.2f} s")
    assert gap < MAX_GAP_S


def assert_only_canary_fails(rehearsal: Rehearsal, start: float) -> None:
    """Assert that all failed responses are the canary's, and no more than its share of the traffic."""
    responses = rehearsal.client.since(start)
    failed = rehearsal.failed(responses)
    canary: list[Response] = rehearsal.by_track(responses, "canary")
    meanwhile = [response for response in responses if canary[0].at <= response.at <= canary[-1].at]
    share = len(failed) / len(meanwhile)
    report(f"  client: {len(failed)} failed, {share:.1%} of {len(meanwhile)} while the canary ran")
    assert {response.pod for response in failed} <= {response.pod for response in canary}, failed[:3]
    assert share <= CANARY_SHARE
