"""Scenarios of a model that decays, or does not: labels, quality, alerts, and the training that they start.

They begin with the release that adds the components `capture` and `monitor`; the client then sends the
requests of `world.py`.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import duckdb

from model_loader.registry.ledger import read_ledger
from model_loader.store import open_store
from tests.rehearsal.assertions import assert_no_failed_request, assert_released, assert_unchanged, snapshot
from tests.rehearsal.automation import NAME, Automation
from tests.rehearsal.components import deploy_components, set_cooldown
from tests.rehearsal.lineage_check import check_lineage
from tests.rehearsal.production import read_alerts, read_quality, version_of, wait_until
from tests.rehearsal.rehearsal import Rehearsal, report
from tests.rehearsal.runner import FAILED
from tests.rehearsal.timeline import Timeline
from tests.rehearsal.world import FEATURE
from training.data import load

MAX_SECONDS = 15 * 60
STARTED_S, ALERT_S, RELEASED_S, RECOVERED_S = 90.0, 180.0, 600.0, 120.0
NOISE_S = 60.0
ALERTS_AT_ONCE = 10
POISONED_SHARE, POISONED_S = 0.2, 20.0
# Of the training's window, the newest quarter of the labelled rows is held out.
WRONG_S, RIGHT_S = 85.0, 30.0


def decays(rehearsal: Rehearsal) -> None:
    """A model decays; an alert starts the training of a better one, which is released by itself."""
    _decay(rehearsal, lambda: None)


def storm(rehearsal: Rehearsal) -> None:
    """Of ten alerts at once, one starts a training."""

    def alert() -> None:
        for _ in range(ALERTS_AT_ONCE):
            payload = {"alerts": [{"labels": {"alertname": "ScoringQuality"}}]}
            rehearsal.events.receive("/retraining", payload)

    _decay(rehearsal, alert)


def _decay(rehearsal: Rehearsal, alert: Callable[[], None]) -> None:
    """Let the concept drift, and wait until the quality has recovered.

    Args:
        alert: called when the alert fires.
    """
    with _world(rehearsal) as timeline, Automation(rehearsal, timeline) as automation:
        _allow_training(rehearsal)
        before = version_of(rehearsal.lock())
        _wait_for_quality(rehearsal, timeline, before)
        start = time.monotonic()
        timeline.restart()
        rehearsal.world.drift()
        timeline.add("the concept drifts: the same wines are another grower's")
        wait_until(lambda: read_alerts(rehearsal), ALERT_S, "an alert of the quality")
        timeline.add(f"Prometheus: {read_alerts(rehearsal)[0]}; {read_quality(rehearsal, before)}")
        alert()
        wait_until(automation.has_released, RELEASED_S, "a release")
        after = version_of(rehearsal.lock())
        assert_released(rehearsal, automation.releases[0], f"{NAME}/{after}")
        assert after > before
        _wait_for_quality(rehearsal, timeline, after)
        wait_until(lambda: not read_alerts(rehearsal), RECOVERED_S, "the end of the alert")
        seconds = timeline.seconds
        timeline.add(f"no alert fires: recovered {seconds:.0f} s after the drift began")
    assert seconds <= MAX_SECONDS
    assert len(automation.granted) == 1, automation.granted
    assert len(automation.releases) == 1
    assert_no_failed_request(rehearsal, start)
    assert not rehearsal.world.failures, rehearsal.world.failures[:3]
    report(f"  {check_lineage(rehearsal, after, automation.granted[0], automation.releases[0])}")


def noise(rehearsal: Rehearsal) -> None:
    """While only chance acts, no alert fires and nothing is trained."""
    with _world(rehearsal) as timeline, Automation(rehearsal, timeline) as automation:
        version, start = version_of(rehearsal.lock()), time.monotonic()
        _wait_for_quality(rehearsal, timeline, version)
        before = snapshot(rehearsal)
        while time.monotonic() < start + NOISE_S:
            assert not read_alerts(rehearsal)
            time.sleep(1)
        timeline.add(f"{NAME}/{version}: {read_quality(rehearsal, version)}")
    assert not automation.trainings
    assert_unchanged(rehearsal, before, start)


def poisoned(rehearsal: Rehearsal) -> None:
    """Rows that violate the schema are answered and captured, but are in no snapshot."""
    world = rehearsal.world
    with _world(rehearsal) as timeline:
        since = datetime.now(UTC)
        world.violating_share = POISONED_SHARE
        time.sleep(POISONED_S)
        world.violating_share = 0.0
        time.sleep(POISONED_S)
        directory = rehearsal.clone / "build/poisoned"
        printed = rehearsal.script(
            *(".venv/bin/python", "-m", "monitor", "snapshot", "--since", f"{since:%Y-%m-%dT%H:%M:%SZ}"),
            *("--out", str(directory)),
        )
        timeline.add(printed.replace("\n", "; "))
    document = json.loads((directory / "snapshot.json").read_text())
    assert sum(document["violations"].values()) > 0
    name = load().features[FEATURE]
    with duckdb.connect() as connection:
        query = f"SELECT count(*), min(\"{name}\") FROM read_parquet('{directory}/*.parquet')"
        rows = connection.execute(query).fetchall()
    ((count, lowest),) = rows
    assert count > 0
    assert lowest > 0


def worse(rehearsal: Rehearsal) -> None:
    """A challenger that was trained on wrong labels is refused, with the reason; production stays."""
    world, start = rehearsal.world, time.monotonic()
    with _world(rehearsal) as timeline:
        before = snapshot(rehearsal)
        world.wrong_labels = True
        timeline.add("another class than the true one is reported")
        time.sleep(WRONG_S)
        world.wrong_labels = False
        timeline.add("labels are right again: the rows that are held out")
        time.sleep(RIGHT_S)
        with Automation(rehearsal, timeline, listens=False) as automation:
            automation.start_training("Manual")
    (training,) = automation.trainings
    assert FAILED in training.results.values()
    assert not automation.releases
    assert_unchanged(rehearsal, before, start)


@contextmanager
def _world(rehearsal: Rehearsal) -> Iterator[Timeline]:
    """Let the client send the world's requests."""
    deploy_components(rehearsal)
    rehearsal.client.use(rehearsal.world.request)
    try:
        yield Timeline()
    finally:
        rehearsal.client.use(None)


def _wait_for_quality(rehearsal: Rehearsal, timeline: Timeline, version: int) -> None:
    def is_enough() -> bool:
        found = read_quality(rehearsal, version)
        return found is not None and found.is_enough

    wait_until(is_enough, STARTED_S, f"{NAME}/{version} above the floor")
    timeline.add(f"{NAME}/{version} is above its floor: {read_quality(rehearsal, version)}")


def _allow_training(rehearsal: Rehearsal) -> None:
    """Shorten the cool-down until the last training, of an earlier scenario, is just over it."""
    ledger = read_ledger(open_store(rehearsal.parts.store), NAME)
    times = [datetime.fromisoformat(entry.time) for entry in ledger.entries if entry.action == "retrain"]
    if times:
        set_cooldown(rehearsal, int((datetime.now(UTC) - times[-1]).total_seconds() // 60))


LOOP_SCENARIOS: Mapping[str, Callable[[Rehearsal], None]] = {
    "decays": decays,
    "storm": storm,
    "noise": noise,
    "poisoned": poisoned,
    "worse": worse,
}
