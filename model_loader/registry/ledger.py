"""`<name>/ledger.jsonl`, append-only: who published, promoted or rolled back what, when and why."""

import getpass
import json
import os
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from model_loader.errors import ConflictError, NotFoundError, StoreError
from model_loader.store import Store

STAGES = ("staging", "production")
# What may be done, and to which stages.
ACTIONS: Mapping[str, Sequence[str | None]] = {"publish": (None,), "promote": STAGES, "rollback": STAGES}
ATTEMPTS = 16


@dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
        time: RFC 3339, UTC.
        action: `publish`, `promote` or `rollback`.
        stage: what was promoted to or rolled back; None for `publish`.
        by: who did it.
        reason: what they said about it.
    """

    time: str
    action: str
    version: int
    digest: str
    by: str
    stage: str | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the ledger."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Ledger:
    """All lines of the model `name`, oldest first."""

    name: str
    entries: tuple[Entry, ...] = ()

    def held(self, stage: str) -> list[Entry]:
        """The promotions of `stage` that stand: the last is what it holds, the rest what it can go back to.

        Raises:
            StoreError: a rollback goes to what the stage did not have before.
        """
        held: list[Entry] = []
        for entry in self.entries:
            if entry.stage != stage:
                continue
            if entry.action == "promote":
                held.append(entry)
            elif len(held) > 1 and held[-2].version == entry.version:
                held.pop()
            else:
                raise StoreError(
                    f"{self.name}/ledger.jsonl: {stage} was rolled back to version {entry.version} at "
                    f"{entry.time}, which is not what it had before"
                )
        return held

    def current(self, stage: str) -> Entry:
        """What `stage` holds.

        Raises:
            NotFoundError: nothing.
        """
        if held := self.held(stage):
            return held[-1]
        raise NotFoundError(f"{self.name} has no version in {stage}: promote one")

    def stages(self, version: int) -> list[str]:
        """The stages that hold `version`."""
        return [stage for stage in STAGES if [e.version for e in self.held(stage)[-1:]] == [version]]


def read_ledger(store: Store, name: str) -> Ledger:
    """The ledger of the model `name`; empty where there is none yet.

    Raises:
        StoreError: a line is not an entry; the message has its number.
    """
    content, _ = store.read(_path(name)) or (b"", None)
    return _parse(name, content)


def append(store: Store, name: str, decide: Callable[[Ledger], Entry]) -> Entry:
    """Appends the entry that `decide` makes of the ledger as it stands, unless it is one that is there.

    `decide` is asked again where somebody else wrote in between.

    Raises:
        ConflictError: somebody else wrote in between every time.
    """
    entry = None
    for attempt in range(ATTEMPTS):
        content, etag = store.read(_path(name)) or (b"", None)
        ledger = _parse(name, content)
        # Where the store's answer was lost, what looks like somebody else's writing is our own.
        if entry not in ledger.entries:
            entry = decide(ledger)
        if entry in ledger.entries:
            return entry
        line = json.dumps(entry.to_json(), ensure_ascii=False).encode() + b"\n"
        try:
            store.write(_path(name), content + line, etag)
        except ConflictError:
            time.sleep(random.uniform(0, min(0.5, 0.02 * 2**attempt)))  # noqa: S311  (it spreads the writers)
        else:
            return entry
    raise ConflictError(f"{_path(name)} in the store {store.url} is being written to all the time: try again")


def author() -> str:
    """Who is at work: MODEL_PUBLISHER, or `user@host`."""
    if publisher := os.environ.get("MODEL_PUBLISHER"):
        return publisher
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's numeric user has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def now() -> str:
    """The time, RFC 3339, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _path(name: str) -> str:
    return f"{name}/ledger.jsonl"


def _parse(name: str, content: bytes) -> Ledger:
    *lines, rest = content.split(b"\n")
    if rest:
        raise StoreError(f"{_path(name)}: the last line is cut off: {rest[:80]!r}")
    return Ledger(name, tuple(_entry(name, number, line) for number, line in enumerate(lines, start=1)))


def _entry(name: str, number: int, line: bytes) -> Entry:
    refused = StoreError(f"{_path(name)}: line {number} is not an entry: {line[:80]!r}")
    try:
        document = json.loads(line)
        entry = Entry(**document)
    except (ValueError, TypeError, RecursionError) as exc:
        raise refused from exc
    typed = all(type(value) is (int if key == "version" else str) for key, value in document.items())
    if not typed or entry.stage not in ACTIONS.get(entry.action, ()):
        raise refused
    return entry
