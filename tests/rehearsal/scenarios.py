"""The scenarios in order; each starts from the state that the previous one produced."""

import json
import re
import time
from collections.abc import Callable, Mapping
from itertools import pairwise

from tests.rehearsal.client import Response
from tests.rehearsal.rehearsal import Rehearsal, report
from tests.rehearsal.runner import FAILED, SKIPPED, SUCCEEDED, Run

MAX_SECONDS_TO_CANARY = 360
MAX_SECONDS_WITHOUT_CHANGE = 60
MAX_GAP_S = 1.0
# Change of the model → the check of the canary gate that must reject it.
REJECTED_BY = {"erring": "errors", "slow": "p99_seconds", "shifted": "psi of label"}
CANARY_SHARE = 0.10  # the pipeline's first increment


def first_deployment(rehearsal: Rehearsal) -> None:
    """The very first release, without control pods to compare with."""
    run = rehearsal.run("IndividualCI")
    _assert_released(rehearsal, run, "wine/1")


def good_commit(rehearsal: Rehearsal) -> None:
    """A good commit is released without a failed request."""
    before, start = rehearsal.images()["stable"], time.monotonic()
    path = rehearsal.clone / "app/routes/static/docs.js"
    rehearsal.pull()
    path.write_text(path.read_text() + "// rehearsed\n")
    rehearsal.commit("Change the service")
    run = rehearsal.run("IndividualCI")
    _assert_released(rehearsal, run, "wine/1")
    assert rehearsal.images()["stable"].isdisjoint(before)
    _assert_no_failed_request(rehearsal, start)
    seconds = run.ended["Deploy the canary"]
    report(f"  from commit to canary: {seconds:.0f} s")
    assert seconds <= MAX_SECONDS_TO_CANARY


def good_model(rehearsal: Rehearsal) -> None:
    """A good new model is released, and the lock file is committed."""
    start = time.monotonic()
    model = rehearsal.publish("better")
    _assert_released(rehearsal, rehearsal.run("ResourceTrigger"), model)
    _assert_no_failed_request(rehearsal, start)


def nothing_new(rehearsal: Rehearsal) -> None:
    """A scheduled run ends early if the store's latest model is already released."""
    head = rehearsal.head()
    start = time.monotonic()
    run = rehearsal.run("Schedule")
    seconds = time.monotonic() - start
    assert run.results == dict.fromkeys(run.results, SKIPPED) | {"Plan": SUCCEEDED}
    assert seconds < MAX_SECONDS_WITHOUT_CHANGE
    assert rehearsal.head() == head


def worse_metrics(rehearsal: Rehearsal) -> None:
    """A model with worse metrics is rejected by the metrics gate."""
    rehearsal.publish("worse", metrics={"accuracy": 0.91})
    _assert_stopped_in_build(rehearsal, "does not pass gate.toml")


def wrongly_signed(rehearsal: Rehearsal) -> None:
    """A model signed with an unknown key is never built into an image."""
    rehearsal.publish("forged", key="unknown")
    _assert_stopped_in_build(rehearsal, "model.pub")


def bad_under_traffic(change: str) -> Callable[[Rehearsal], None]:
    """Return the scenario of a model that passes every check before traffic and then fails."""

    def scenario(rehearsal: Rehearsal) -> None:
        before, locked, head, start = rehearsal.images(), rehearsal.lock(), rehearsal.head(), time.monotonic()
        rehearsal.publish(change, change=change)
        run = rehearsal.run("ResourceTrigger")
        assert run.results["Staging"] == SUCCEEDED
        assert run.results["Production"] == FAILED
        assert run.results["Record"] == SKIPPED
        if change == "slow" and "Check every pod, smoke-test the canary" in run.failures[0]:
            report("  the canary was too slow for the smoke test")  # happens on a busy machine
        else:
            assert "Watch the canary" in run.failures[0]
            assert re.search(rf"^{REJECTED_BY[change]}.* reject$", run.log.read_text(), re.MULTILINE)
        assert "50" not in run.increments
        assert rehearsal.images() == before
        assert (rehearsal.lock(), rehearsal.head()) == (locked, head)
        _assert_stable_responds(rehearsal, start)
        _assert_only_canary_fails(rehearsal, start)
        # A rejected model is not tried again.
        again = rehearsal.run("Schedule")
        assert again.results["Test"] == SKIPPED

    scenario.__doc__ = (
        f"A model that is {change} under traffic is rejected at 10 %; the stable pods keep responding."
    )
    return scenario


def half_promoted(rehearsal: Rehearsal) -> None:
    """A promotion that fails half-way is rolled back."""
    before, locked, start = rehearsal.images(), rehearsal.lock(), time.monotonic()
    rehearsal.publish("good, but the cluster fails")
    rehearsal.parts.cluster.fail_next(1)
    run = rehearsal.run("ResourceTrigger")
    assert run.results["Production"] == FAILED
    assert any("Promote the canary" in failure for failure in run.failures), run.failures
    assert rehearsal.images() == before
    assert rehearsal.lock() == locked
    _assert_no_failed_request(rehearsal, start)


def rollback(rehearsal: Rehearsal) -> None:
    """A rollback restores the previous digest in the cluster, the lock file and the ledger."""
    start = time.monotonic()
    *_, before, current = _releases(rehearsal)
    assert rehearsal.images() == {"stable": {current["image"]}}
    rehearsal.script("scripts/rollback")
    assert rehearsal.images() == {"stable": {before["image"]}}
    assert before["model"].startswith(f"{rehearsal.lock()}@")
    rehearsal.script("scripts/which")
    _assert_no_failed_request(rehearsal, start)


SCENARIOS: Mapping[str, Callable[[Rehearsal], None]] = {
    "first_deployment": first_deployment,
    "good_commit": good_commit,
    "good_model": good_model,
    "nothing_new": nothing_new,
    "worse_metrics": worse_metrics,
    "wrongly_signed": wrongly_signed,
    "erring": bad_under_traffic("erring"),
    "slow": bad_under_traffic("slow"),
    "shifted": bad_under_traffic("shifted"),
    "half_promoted": half_promoted,
    "rollback": rollback,
}


def _assert_released(rehearsal: Rehearsal, run: Run, model: str) -> None:
    """Assert that all stages passed, and that cluster, lock file and release log agree on the release."""
    assert set(run.results.values()) == {SUCCEEDED}, run.failures
    *_, last = _releases(rehearsal)
    assert rehearsal.images() == {"stable": {last["image"]}}
    assert last["model"].startswith(f"{model}@")
    assert rehearsal.lock() == model
    assert last["commit"] == run.variables["Build.SourceVersion"]


def _releases(rehearsal: Rehearsal) -> list[dict[str, str]]:
    rehearsal.pull()
    return [json.loads(line) for line in (rehearsal.clone / "releases.jsonl").read_text().splitlines()]


def _assert_stopped_in_build(rehearsal: Rehearsal, words: str) -> None:
    before, head, start = rehearsal.images(), rehearsal.head(), time.monotonic()
    run = rehearsal.run("ResourceTrigger")
    assert run.results["Build"] == FAILED
    assert words in run.log.read_text()
    assert {run.results[stage] for stage in ("Staging", "Production", "Record")} == {SKIPPED}
    assert (rehearsal.images(), rehearsal.head()) == (before, head)
    _assert_no_failed_request(rehearsal, start)


def _assert_no_failed_request(rehearsal: Rehearsal, start: float) -> None:
    rehearsal.wait_for_requests_in_flight()
    responses = rehearsal.client.since(start)
    failed = rehearsal.failed(responses)
    report(f"  client: {len(responses)} requests, {len(failed)} failed")
    assert responses
    assert not failed, failed[:3]


def _assert_stable_responds(rehearsal: Rehearsal, start: float) -> None:
    """Assert that the stable pods responded at least once in every second."""
    rehearsal.wait_for_requests_in_flight()
    responses = rehearsal.client.since(start)
    times = [each.at for each in rehearsal.by_track(responses, "stable") if each.status == 200]
    gap = max(later - earlier for earlier, later in pairwise(times))
    report(f"  client: {len(responses)} requests, {len(times)} answered by stable, longest gap {gap:.2f} s")
    assert gap < MAX_GAP_S


def _assert_only_canary_fails(rehearsal: Rehearsal, start: float) -> None:
    """Assert that all failed responses are the canary's, and no more than its share of the traffic."""
    responses = rehearsal.client.since(start)
    failed = rehearsal.failed(responses)
    canary: list[Response] = rehearsal.by_track(responses, "canary")
    meanwhile = [response for response in responses if canary[0].at <= response.at <= canary[-1].at]
    share = len(failed) / len(meanwhile)
    report(f"  client: {len(failed)} failed, {share:.1%} of {len(meanwhile)} while the canary ran")
    assert {response.pod for response in failed} <= {response.pod for response in canary}, failed[:3]
    assert share <= CANARY_SHARE
