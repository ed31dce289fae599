"""Names of segments in the spool, and of objects in the capture store.

    spool, CAPTURE_DIR    name=<name>/kind=<kind>/<stem>.jsonl.open    a worker appends to it
                          name=<name>/kind=<kind>/<stem>.jsonl         closed: nobody writes to it any more
    CAPTURE_STORE         v1/name=<name>/kind=<kind>/date=YYYY-MM-DD/hour=HH/<stem>.jsonl.gz
                          v1/name=<name>/kind=<kind>/date=YYYY-MM-DD/day-<sources>.parquet

A stem is `<pod>-<worker>-<start>-<seq>`, where `start` is the time at which the segment was opened, in UTC:
`20260102T030405678Z`. Date and hour of an object are those of `start`, so a name in the spool determines the
name in the store, and a repeated upload has the same name.
"""

import re
from dataclasses import dataclass
from typing import Literal

from model_loader.package import NAME
from monitor.errors import MonitorError

Kind = Literal["prediction", "feedback"]
KINDS: tuple[Kind, ...] = ("prediction", "feedback")
ROOT = "v1/"
OPEN_SUFFIX, CLOSED_SUFFIX, OBJECT_SUFFIX = ".jsonl.open", ".jsonl", ".jsonl.gz"
STEM = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}-[A-Za-z0-9]{1,20}-(?P<start>\d{8}T\d{9}Z)-\d{1,9}"
SEGMENT = re.compile(
    rf"name=(?P<name>{NAME.pattern})/kind=(?P<kind>{'|'.join(KINDS)})/(?P<stem>{STEM})\.jsonl(?P<open>\.open)?"
)
OBJECT = re.compile(
    rf"v1/name=(?P<name>{NAME.pattern})/kind=(?P<kind>{'|'.join(KINDS)})/date=(?P<date>\d{{4}}-\d\d-\d\d)/"
    rf"(?:hour=\d\d/(?P<stem>{STEM})\.jsonl\.gz|day-[0-9a-f]{{16}}\.parquet)"
)


@dataclass(frozen=True)
class Segment:
    """A file of the spool.

    Attributes:
        name: of the model.
        stem: `<pod>-<worker>-<start>-<seq>`.
    """

    name: str
    kind: Kind
    stem: str
    is_open: bool = False

    @property
    def path(self) -> str:
        """Path below CAPTURE_DIR."""
        suffix = OPEN_SUFFIX if self.is_open else CLOSED_SUFFIX
        return f"name={self.name}/kind={self.kind}/{self.stem}{suffix}"

    @property
    def object_name(self) -> str:
        """Name of the object in the capture store."""
        start = self.stem.split("-")[-2]
        date = f"{start[:4]}-{start[4:6]}-{start[6:8]}"
        return f"{directory(self.name, self.kind, date)}hour={start[9:11]}/{self.stem}{OBJECT_SUFFIX}"


@dataclass(frozen=True)
class StoredObject:
    """An object of the capture store.

    Attributes:
        name: of the object.
        model: name of the model.
        date: of the directory, YYYY-MM-DD.
        stem: of the segment that it was; None: it is a compacted day.
    """

    name: str
    model: str
    kind: Kind
    date: str
    stem: str | None


def parse_segment(path: str) -> Segment | None:
    """Return the segment at a path below CAPTURE_DIR, or None if the path is not one's."""
    found = SEGMENT.fullmatch(path)
    return found and Segment(found["name"], _kind(found["kind"]), found["stem"], bool(found["open"]))


def parse_object(name: str) -> StoredObject | None:
    """Return the object of a name in the capture store, or None if the name is not one's."""
    found = OBJECT.fullmatch(name)
    return found and StoredObject(name, found["name"], _kind(found["kind"]), found["date"], found["stem"])


def directory(name: str, kind: Kind, date: str) -> str:
    """Return the prefix of a day's objects, with the last `/`."""
    return f"{ROOT}name={name}/kind={kind}/date={date}/"


def model_prefix(name: str) -> str:
    """Return the prefix of a model's objects, with the last `/`.

    Raises:
        MonitorError: it is not the name of a model.
    """
    if not NAME.fullmatch(name):
        raise MonitorError(f"expected the name of a model, {NAME.pattern}, got {name!r:.80}")
    return f"{ROOT}name={name}/"


def _kind(text: str) -> Kind:
    return "feedback" if text == "feedback" else "prediction"
