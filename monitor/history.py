"""What happened to a model: its ledger and its releases as one sequence of events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from model_loader.registry.ledger import BUILD, Entry, Ledger
from model_loader.text_tables import short
from monitor.errors import MonitorError
from monitor.releases import ReleaseLine

PRODUCTION, STAGING = "production", "staging"
# Action and stage in the ledger → what people call it.
KINDS: Mapping[tuple[str, str | None], str] = {
    ("publish", None): "published",
    ("promote", BUILD): "taken up by a build",
    ("promote", STAGING): "in staging",
    ("promote", PRODUCTION): "in production",
    ("rollback", STAGING): "staging rolled back",
    ("rollback", PRODUCTION): "rolled back",
    ("withdraw", None): "withdrawn",
    ("retrain", None): "retraining asked",
}
# A release is recorded in the ledger and in releases.jsonl one after the other.
SAME_RELEASE = timedelta(minutes=15)


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        kind: one of KINDS, or `released` for an image with the model that production already had.
        version: of the model; after a rollback, the one that is in production again.
        note: a reason, and the commit and image of a release.
    """

    time: datetime
    kind: str
    version: int
    by: str
    note: str = ""
    stage: str | None = None


@dataclass(frozen=True)
class Span:
    """A time during which something lasted.

    Attributes:
        label: of what, such as `version 3` or the name of an alert.
        end: None: it lasts.
    """

    label: str
    start: datetime
    end: datetime | None = None


@dataclass(frozen=True)
class History:
    """What happened to a model, oldest first.

    Attributes:
        canaries, alerts: as Prometheus has them; empty without it.
        failure: why Prometheus is unavailable; empty: it answered, or none was given.
    """

    events: tuple[Event, ...] = ()
    canaries: tuple[Span, ...] = ()
    alerts: tuple[Span, ...] = ()
    failure: str = ""

    def in_stage(self, stage: str) -> list[Span]:
        """Return which version a stage had from when to when."""
        spans: list[Span] = []
        for event in self.events:
            if event.stage == stage:
                label = f"version {event.version}"
                if spans and spans[-1].label == label:
                    continue
                if spans:
                    spans[-1] = Span(spans[-1].label, spans[-1].start, event.time)
                spans.append(Span(label, event.time))
        return spans


def read_events(ledger: Ledger, releases: Sequence[ReleaseLine]) -> tuple[Event, ...]:
    """Return the events of a model, oldest first.

    Args:
        releases: of all models; a line that belongs to an entry of the ledger adds its commit and image.
    """
    lines = [each for each in releases if each.model.startswith(f"{ledger.name}/")]
    events = []
    for entry in ledger.entries:
        own = next((line for line in lines if _belongs(line, entry)), None)
        if own:
            lines.remove(own)
        notes = [entry.reason or "", _release_note(own) if own else ""]
        events.append(
            Event(
                parse_time(entry.time), KINDS.get((entry.action, entry.stage), entry.action), entry.version,
                entry.by, "; ".join(filter(None, notes)), entry.stage,
            )
        )  # fmt: skip
    for line in lines:
        version = int(line.model_version.rpartition("/")[2])
        notes = [(line.note or "").removeprefix("rollback").removeprefix(": "), _release_note(line)]
        kind = KINDS["rollback", PRODUCTION] if line.is_rollback else "released"
        events.append(
            Event(parse_time(line.time), kind, version, line.who, "; ".join(filter(None, notes)), PRODUCTION)
        )
    return tuple(sorted(events, key=lambda event: event.time))


def parse_time(text: str) -> datetime:
    """Parse a time, which is in UTC if it has no zone.

    Raises:
        MonitorError: it is none.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as exc:
        raise MonitorError(f"ledger or releases: expected a time, got {text!r:.60}") from exc
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _belongs(line: ReleaseLine, entry: Entry) -> bool:
    """Return whether a release is the one that an entry records."""
    return (
        entry.stage == PRODUCTION
        and line.model_version.rpartition("/")[2] == str(entry.version)
        and line.is_rollback == (entry.action == "rollback")
        and abs(parse_time(line.time) - parse_time(entry.time)) <= SAME_RELEASE
    )


def _release_note(line: ReleaseLine) -> str:
    return f"commit {line.commit[:12]}, image {short(line.image_digest)}"
