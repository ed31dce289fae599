"""Scenarios of rollouts that are interrupted, or meet something unexpected.

They begin with a release that was built and staged, but does not run in production yet: `prepared`.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Thread

from tests.rehearsal.assertions import (
    assert_no_failed_request,
    assert_released,
    assert_unchanged,
    image_of,
    model_of,
    releases,
    snapshot,
)
from tests.rehearsal.cluster.faults import Fault
from tests.rehearsal.rehearsal import LOAD, NAMESPACE, PRODUCTION, Rehearsal, report
from tests.rehearsal.runner import CANCELED, FAILED, SUCCEEDED, Run

START, CANARY_10, WATCH_10 = "Start the rollout", "Canary at 10 %", "Watch the canary at 10 %"
CANARY_50, WATCH_50 = "Canary at 50 %", "Watch the canary at 50 %"
PROMOTE, REJECT = "Promote the canary", "Reject the canary"
SHORT_WATCH = "4s"  # where the canary is not what a scenario is about
HIGH, HIGHER = LOAD + 2, LOAD + 8  # pods that the load needs
SCALED_S = 60.0
STARTED_S = 180.0


def out_of_order(rehearsal: Rehearsal) -> None:
    """A release that is approved after a newer one is refused: older code never replaces newer code."""
    older = rehearsal.runs[0]
    if len(releases(rehearsal)) < 2:
        rehearsal.change_service()
        assert_released(rehearsal, rehearsal.run("IndividualCI"), "wine/1")
        rehearsal.prepared = None  # it is older now
    before, start = snapshot(rehearsal), time.monotonic()
    run = rehearsal.run_production(older)
    assert run.results["Production"] == FAILED
    assert START in run.failures[0]
    assert "is older than" in run.log.read_text()
    assert_unchanged(rehearsal, before, start)


def canceled(rehearsal: Rehearsal) -> None:
    """A run that is canceled in the middle of any step leaves production as it was."""
    middle: Mapping[str, Callable[[], bool]] = {
        START: lambda: rehearsal.parts.cluster.get(NAMESPACE, "ConfigMap", "demo-rollout") is not None,
        CANARY_10: lambda: rehearsal.count_pods("canary") == 1,
        WATCH_10: lambda: True,
        CANARY_50: lambda: rehearsal.count_pods("canary") == 5,
        WATCH_50: lambda: True,
        PROMOTE: lambda: len(rehearsal.images().get("stable", ())) > 1,
    }
    given = prepared(rehearsal)
    for step, reached in middle.items():
        before, start = snapshot(rehearsal), time.monotonic()
        run = rehearsal.run_production(given, Interruption({step: "cancel"}), reached, watch=SHORT_WATCH)
        assert run.results["Production"] == CANCELED, run.failures
        assert step in run.failures[0]
        assert_unchanged(rehearsal, before, start)


def lost_agent(rehearsal: Rehearsal) -> None:
    """If the agent is lost, the clean-up job rejects the canary; if that is lost too, the next run does."""
    given, before, start = prepared(rehearsal), snapshot(rehearsal), time.monotonic()
    run = rehearsal.run_production(given, Interruption({CANARY_50: "lose"}), watch=SHORT_WATCH)
    assert run.results["Production"] == FAILED
    assert_unchanged(rehearsal, before, start)

    both = Interruption({WATCH_10: "lose", REJECT: "lose"})
    rehearsal.run_production(given, both, lambda: True)
    assert rehearsal.images().keys() == {"stable", "canary", "control"}
    assert rehearsal.scale_down_policy() == "Disabled"

    run = rehearsal.run_production(given, Interruption({CANARY_10: "cancel"}))
    assert "rejecting what" in run.log.read_text()
    assert_unchanged(rehearsal, before, start)


def failing_download(rehearsal: Rehearsal) -> None:
    """Rejecting needs no download: not the release, not kubelogin's installer, not registry and metrics."""
    given, before, start = prepared(rehearsal), snapshot(rehearsal), time.monotonic()

    def fail_downloads() -> None:
        rehearsal.fail_downloads(rehearsal.runs[-1])

    interruption = Interruption({WATCH_10: "lose"}, {WATCH_10: fail_downloads})
    run = rehearsal.run_production(given, interruption)
    rehearsal.restore_downloads()
    assert run.results["Production"] == FAILED
    assert "Install kubelogin" in "".join(run.failures)
    assert_unchanged(rehearsal, before, start)


def no_traffic(rehearsal: Rehearsal) -> None:
    """Without any traffic a good release is judged by replayed samples, and is released."""
    given = prepared(rehearsal)
    rehearsal.client.pause()
    run = rehearsal.run_production(given, watch=SHORT_WATCH)
    rehearsal.client.resume()
    assert "replayed" in run.log.read_text()
    assert_released(rehearsal, run, model_of(given))


def autoscaled(rehearsal: Rehearsal) -> None:
    """An autoscaler that adds pods during a rollout disturbs no check; it removes none until the end."""
    cluster, given, start = rehearsal.parts.cluster, prepared(rehearsal), time.monotonic()
    cluster.set_load(HIGH)
    cluster.wait_for_pods("stable", HIGH, SCALED_S)
    cluster.delay_readiness("demo", 2)
    replicas: dict[str, int] = {}

    def more() -> None:
        cluster.set_load(HIGHER)

    def fewest() -> None:
        replicas["held"] = rehearsal.replicas()
        cluster.set_load(LOAD)

    def count() -> None:
        replicas["before the promotion"] = rehearsal.replicas()

    run = rehearsal.run_production(
        given, Interruption({}, {CANARY_50: more, WATCH_50: fewest, PROMOTE: count}), watch=SHORT_WATCH
    )
    report(f"  stable pods: {replicas}")
    assert_released(rehearsal, run, model_of(given))
    assert HIGH < replicas["held"] <= replicas["before the promotion"]
    promoted = re.search(r"promoting \S+ to (\d+) pods", run.log.read_text())
    assert promoted
    assert int(promoted[1]) > replicas["held"]
    assert rehearsal.scale_down_policy() == "Max"
    cluster.wait_for_pods("stable", LOAD, SCALED_S)
    cluster.clear_faults()
    assert_no_failed_request(rehearsal, start)


def two_runs(rehearsal: Rehearsal) -> None:
    """If two runs are in production at once, the later one takes over, and the other changes nothing."""
    given, start = prepared(rehearsal), time.monotonic()
    at_ten, taken_over = Event(), Event()

    def wait() -> None:
        at_ten.set()
        assert taken_over.wait(STARTED_S), "the second run did not start its rollout"

    first: list[Run] = []
    earlier = Interruption({}, {CANARY_50: wait})
    thread = Thread(
        target=lambda: first.append(rehearsal.run_production(given, earlier, watch=SHORT_WATCH)), daemon=True
    )
    thread.start()
    assert at_ten.wait(STARTED_S), "the first run has no canary"
    later = Interruption({}, {CANARY_10: taken_over.set})
    second = rehearsal.run_production(given, later, watch=SHORT_WATCH)
    thread.join()
    assert first, "the first run ended with an error"
    assert first[0].results["Production"] == FAILED
    assert "belongs to" in first[0].log.read_text()
    assert_released(rehearsal, second, model_of(given))
    assert_no_failed_request(rehearsal, start)


def lost_responses(rehearsal: Rehearsal) -> None:
    """If calls of kubectl fail while a canary is rejected, the clean-up job completes it."""
    given, before, start = prepared(rehearsal), snapshot(rehearsal), time.monotonic()

    def fail_calls() -> None:
        rehearsal.parts.cluster.inject(Fault("^delete deployment", "lose"))
        rehearsal.parts.cluster.inject(Fault("^patch horizontalpodautoscaler", "fail"))

    run = rehearsal.run_production(given, Interruption({WATCH_10: "cancel"}, {WATCH_10: fail_calls}))
    rehearsal.parts.cluster.clear_faults()
    assert run.results["Production"] != SUCCEEDED
    assert_unchanged(rehearsal, before, start)


@dataclass
class Interruption:
    """Interrupts a run at some of its steps in production, once each.

    Attributes:
        actions: title of a step → `cancel` or `lose`.
        effects: title of a step → what happens before it begins.
        at: title of the last step that was interrupted.
    """

    actions: Mapping[str, str]
    effects: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    at: str = ""

    def __call__(self, stage: str, title: str) -> str:
        """Return what happens to a step."""
        if stage != PRODUCTION:
            return ""
        if title in self.effects:
            self.effects[title]()
        if action := self.actions.get(title, ""):
            self.at = title
        return action


def prepared(rehearsal: Rehearsal) -> Run:
    """Return a run whose release is newer than the one in production, and staged.

    If production runs it already, it is rolled back.
    """
    if rehearsal.prepared is None:
        rehearsal.publish("for several rollouts")
        rehearsal.prepared = rehearsal.run("ResourceTrigger", until=PRODUCTION)
        assert rehearsal.prepared.results["Staging"] == SUCCEEDED, rehearsal.prepared.failures
    if rehearsal.images()["stable"] == {image_of(rehearsal.prepared)}:
        rehearsal.script("scripts/rollback")
    return rehearsal.prepared


ROLLOUT_SCENARIOS: Mapping[str, Callable[[Rehearsal], None]] = {
    "out_of_order": out_of_order,
    "canceled": canceled,
    "lost_agent": lost_agent,
    "failing_download": failing_download,
    "lost_responses": lost_responses,
    "no_traffic": no_traffic,
    "autoscaled": autoscaled,
    "two_runs": two_runs,
}
