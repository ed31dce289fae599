"""The scenarios in order; each starts from the state that the previous one produced."""

import re
import time
from collections.abc import Callable, Mapping

from tests.rehearsal.assertions import (
    assert_no_failed_request,
    assert_only_canary_fails,
    assert_released,
    assert_stable_responds,
    releases,
)
from tests.rehearsal.loop_scenarios import LOOP_SCENARIOS
from tests.rehearsal.rehearsal import PRODUCTION, Rehearsal, report
from tests.rehearsal.rollout_scenarios import ROLLOUT_SCENARIOS
from tests.rehearsal.runner import FAILED, SKIPPED, SUCCEEDED

MAX_SECONDS_TO_CANARY = 360
MAX_SECONDS_WITHOUT_CHANGE = 60
AFTER_ROLLBACK = ("autoscaled", "two_runs")  # it makes the release that these use a new one again
# Change of the model → the check of the canary gate that must reject it.
REJECTED_BY = {"erring": "errors", "slow": "latency", "shifted": "output label"}


def first_deployment(rehearsal: Rehearsal) -> None:
    """The very first release, without control pods to compare with."""
    run = rehearsal.run("IndividualCI")
    assert_released(rehearsal, run, "wine/1")


def good_commit(rehearsal: Rehearsal) -> None:
    """A good commit is released without a failed request."""
    before, start = rehearsal.images()["stable"], time.monotonic()
    rehearsal.change_service()
    run = rehearsal.run("IndividualCI")
    assert_released(rehearsal, run, "wine/1")
    assert rehearsal.images()["stable"].isdisjoint(before)
    assert_no_failed_request(rehearsal, start)
    seconds = run.ended["Canary at 10 %"]
    report(f"  from commit to canary: {seconds:.0f} s")
    assert seconds <= MAX_SECONDS_TO_CANARY


def good_model(rehearsal: Rehearsal) -> None:
    """A good new model is released by GitHub's workflow, and the lock file is committed."""
    start = time.monotonic()
    model = rehearsal.publish("better")
    assert_released(rehearsal, rehearsal.run("ResourceTrigger", pipeline=rehearsal.workflow), model)
    assert_no_failed_request(rehearsal, start)


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
        if change == "slow" and "Canary at 10 %" in run.failures[0]:
            report("  the canary was too slow for the smoke test")  # happens on a busy machine
        else:
            assert "Watch the canary at 10 %" in run.failures[0]
            assert re.search(rf"^{REJECTED_BY[change]}.* reject$", run.log.read_text(), re.MULTILINE)
        assert "Canary at 50 %" not in run.ended
        assert rehearsal.images() == before
        assert (rehearsal.lock(), rehearsal.head()) == (locked, head)
        assert_stable_responds(rehearsal, start)
        assert_only_canary_fails(rehearsal, start)
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
    rehearsal.parts.cluster.clear_faults()
    rehearsal.prepared = run
    assert run.results["Production"] == FAILED
    assert any("Promote the canary" in failure for failure in run.failures), run.failures
    assert rehearsal.images() == before
    assert rehearsal.lock() == locked
    assert_no_failed_request(rehearsal, start)


def rollback(rehearsal: Rehearsal) -> None:
    """A rollback restores the previous digest in the cluster, the lock file and the ledger."""
    start = time.monotonic()
    *_, before, current = releases(rehearsal)
    assert rehearsal.images() == {"stable": {current["image"]}}
    rehearsal.script("scripts/rollback")
    assert rehearsal.images() == {"stable": {before["image"]}}
    assert before["model"].startswith(f"{rehearsal.lock()}@")
    rehearsal.script("scripts/which")
    assert_no_failed_request(rehearsal, start)


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
    **{name: scenario for name, scenario in ROLLOUT_SCENARIOS.items() if name not in AFTER_ROLLBACK},
    "rollback": rollback,
    **{name: ROLLOUT_SCENARIOS[name] for name in AFTER_ROLLBACK},
    **LOOP_SCENARIOS,
}
# Scenarios that run only if they are named: they take minutes, and tests without containers cover the rest.
ON_REQUEST = ("storm", "noise", "poisoned", "worse")


def _assert_stopped_in_build(rehearsal: Rehearsal, words: str) -> None:
    before, head, start = rehearsal.images(), rehearsal.head(), time.monotonic()
    run = rehearsal.run("ResourceTrigger")
    assert run.results["Build"] == FAILED
    assert words in run.log.read_text()
    assert {run.results[stage] for stage in ("Staging", PRODUCTION)} == {SKIPPED}
    assert (rehearsal.images(), rehearsal.head()) == (before, head)
    assert_no_failed_request(rehearsal, start)
