"""Decide whether to start a training, by its reason, the time since the last one, and new labels.

The decision is an entry `retrain` of the ledger, which is written by compare-and-swap. Of several requests at
once, the first is granted, and the others then find its entry.
"""

import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from model_loader.registry.ledger import Entry, Ledger, append, author
from model_loader.registry.versions import find, get, version_numbers
from model_loader.store import Store
from monitor.config import RetrainingRules
from monitor.errors import TrainingRefused
from monitor.evidence import Breach, Evidence

Reason = Literal["alert", "cadence", "commit", "manual"]
# What people decided: the rules are for the others.
DECIDED_BY_PEOPLE: tuple[Reason, ...] = ("commit", "manual")
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Request:
    """A request for a training.

    Attributes:
        alerts: names of the alerts that ask; empty: whatever the captured data shows.
    """

    reason: Reason
    alerts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.reason, *self.alerts])


@dataclass(frozen=True)
class Granted:
    """A training that may begin.

    Attributes:
        entry: of the ledger; None: the store has no version yet.
        why: the evidence, if the rules asked for any.
    """

    entry: Entry | None
    why: str = ""


def request_training(
    store: Store, name: str, request: Request, rules: RetrainingRules, evidence: Evidence, at: datetime
) -> Granted:
    """Append a `retrain` entry to the ledger, if the rules allow it.

    Raises:
        TrainingRefused: they do not; the message says why.
        MonitorError, LoaderError: the store or the captured data cannot be read, or the ledger not written.
    """
    if request.reason not in DECIDED_BY_PEOPLE and not rules.enabled:
        raise TrainingRefused("retraining is switched off: enabled = false in [retraining]")
    why = ""
    token = run_token()

    def decide(ledger: Ledger) -> Entry:
        nonlocal why
        version, digest = _in_production(store, ledger)
        asked, why = str(request), ""
        if request.reason not in DECIDED_BY_PEOPLE:
            _check_times(ledger, rules, at)
            why = _check_labels(store, ledger, version, rules, evidence)
            if request.reason == "alert" and rules.confirm:
                breach = _confirm(evidence, f"{name}/{version}", version)
                asked = asked if request.alerts else f"{asked} {breach.alert}"
                why = f"{breach}; {why}"
            elif request.reason == "alert" and not request.alerts:
                raise TrainingRefused("no alert is named, and with confirm = false no data is looked at")
        return Entry(_rfc3339(at), "retrain", version, digest, author(), reason=f"{asked} ({token})")

    entry = append(store, name, decide) if version_numbers(store, name) else None
    return Granted(entry, why)


def run_token() -> str:
    """Return the id of the pipeline's run, if any, and a random number.

    Without it two entries could be equal. Of two equal ones the ledger keeps one, so that both requests would
    be granted.
    """
    run = os.environ.get("GITHUB_RUN_ID") or os.environ.get("BUILD_BUILDID")
    return (f"run {run}, " if run else "") + f"request {secrets.token_hex(4)}"


def last_training(store: Store, ledger: Ledger, version: int) -> datetime | None:
    """Return when the data of the last training ended: of the last `retrain`, or of a version's snapshots.

    A snapshot may be taken `--until` a later day: its data ended before the version was made.

    Raises:
        LoaderError: the version cannot be read.
    """
    manifest = get(store, ledger, version).manifest
    snapshots = (manifest.document.get("data") or {}).get("snapshots", ())
    created = datetime.fromisoformat(manifest.document["created"])
    times = [datetime.fromisoformat(entry.time) for entry in _trainings(ledger)]
    times += [min(datetime.fromisoformat(snapshot["until"]), created) for snapshot in snapshots]
    return max(times, default=None)


def _trainings(ledger: Ledger) -> list[Entry]:
    return [entry for entry in ledger.entries if entry.action == "retrain"]


def _in_production(store: Store, ledger: Ledger) -> tuple[int, str]:
    """Return version and digest in production, or before the first release of the latest version."""
    if promotions := ledger.promotions("production"):
        return promotions[-1].version, promotions[-1].digest
    latest = find(store, ledger.name, "latest")
    return latest.manifest.version, latest.digest


def _check_times(ledger: Ledger, rules: RetrainingRules, at: datetime) -> None:
    """Check the cool-down and the cap."""
    trainings = _trainings(ledger)
    if not trainings:
        return
    last = trainings[-1]
    if (passed := at - datetime.fromisoformat(last.time)) < rules.cooldown:
        raise TrainingRefused(
            f"the cool-down of {describe(rules.cooldown)} is not over: the last training began "
            f"{describe(passed)} ago, at {last.time}, for {last.reason}"
        )
    today = sum(at - datetime.fromisoformat(entry.time) < DAY for entry in trainings)
    if today >= rules.max_per_day:
        raise TrainingRefused(f"{today} trainings began within a day; max_per_day is {rules.max_per_day}")


def _check_labels(
    store: Store, ledger: Ledger, version: int, rules: RetrainingRules, evidence: Evidence
) -> str:
    """Check the number of new labels, and return it as text."""
    since = last_training(store, ledger, version)
    count = evidence.new_labels(version, since) if rules.min_new_labels else 0
    text = f"{count} new labels" + (f" since {since:%Y-%m-%d %H:%M}" if since else "")
    if count < rules.min_new_labels:
        raise TrainingRefused(f"{text}; min_new_labels is {rules.min_new_labels}")
    return text if rules.min_new_labels else "no new labels are needed"


def _confirm(evidence: Evidence, model: str, version: int) -> Breach:
    """Return the measure that the captured data shows beyond its limit."""
    breach = evidence.breach(version)
    if breach is None:
        if evidence.has_labels(version):
            raise TrainingRefused(f"no measure of {model} is beyond its limit by more than chance explains")
        raise TrainingRefused(f"no window has as many labels of {model} as min_labels")
    return breach


def describe(length: timedelta) -> str:
    """Return a length of time in its largest unit: `3 days`, `90 minutes`."""
    seconds = length.total_seconds()
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
