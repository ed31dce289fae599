"""`<name>/ledger.jsonl`, append-only: who published, promoted, withdrew or rolled back what, when and why.

An entry `retrain` records that a training was asked for, by what, and which version was in production.
"""

import getpass
import json
import os
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from model_loader.errors import ConflictError, NotFoundError, StoreError
from model_loader.store import Store

STAGES = ("staging", "production")
# The version whose build began last. A mark, not a stage that has a version: nothing runs from it.
BUILD = "build"
# Action → the stages that it can apply to; None for an action without a stage.
ACTIONS: Mapping[str, Sequence[str | None]] = {
    "publish": (None,),
    "promote": (BUILD, *STAGES),
    "rollback": STAGES,
    "withdraw": (None,),
    "retrain": (None,),
}
ATTEMPTS = 16


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes:
        time: RFC 3339, UTC.
        action: `publish`, `promote`, `rollback`, `withdraw` or `retrain`.
        stage: the stage that changed; None for `publish`, `withdraw` and `retrain`.
        by: who did it, see `author`.
        reason: their note, if any.
    """

    time: str
    action: str
    version: int
    digest: str
    by: str
    stage: str | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the entry as in the ledger."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Ledger:
    """All entries of the model `name`, oldest first."""

    name: str
    entries: tuple[Entry, ...] = ()

    def promotions(self, stage: str) -> list[Entry]:
        """Return the entries that set `stage` and were not rolled back, oldest first; the last is current.

        A rollback to a version that the stage had goes back to that entry. A rollback to another version
        replaces the current entry.

        Raises:
            StoreError: a rollback goes to the version that the stage has, or to a withdrawn one.
        """
        promotions: list[Entry] = []
        withdrawn: set[int] = set()
        for entry in self.entries:
            if entry.action == "withdraw":
                withdrawn.add(entry.version)
            if entry.stage != stage:
                continue
            if entry.action == "promote":
                promotions.append(entry)
                continue
            is_current = [entry.version] == [each.version for each in promotions[-1:]]
            if is_current or entry.version in withdrawn:
                raise StoreError(
                    f"{self.name}/ledger.jsonl: {stage} was rolled back to version {entry.version} at "
                    f"{entry.time}, which {'it had already' if is_current else 'was withdrawn'}"
                )
            promotions = _rolled_back(promotions, entry)
        return promotions

    @property
    def withdrawals(self) -> dict[int, Entry]:
        """Version → entry, of the versions that were withdrawn."""
        return {entry.version: entry for entry in self.entries if entry.action == "withdraw"}

    def previous(self, stage: str) -> Entry | None:
        """Return the promotion that a rollback of `stage` goes back to, if any."""
        *_, before = [None, *_before(self.promotions(stage), self.withdrawals.keys())]
        return before

    def current(self, stage: str) -> Entry:
        """Return the entry that set `stage` to the version that it has.

        Raises:
            NotFoundError: the stage has no version.
        """
        if promotions := self.promotions(stage):
            return promotions[-1]
        raise NotFoundError(f"{self.name} has no version in {stage}: promote one")

    def stages(self, version: int) -> list[str]:
        """Return the stages that have `version`."""
        return [stage for stage in STAGES if [e.version for e in self.promotions(stage)[-1:]] == [version]]


def _rolled_back(promotions: list[Entry], rollback: Entry) -> list[Entry]:
    """Return the promotions up to the last one, before the current one, of the rollback's version."""
    remaining = promotions[:-1]
    for number in range(len(remaining), 0, -1):
        if remaining[number - 1].version == rollback.version:
            return remaining[:number]
    return [*remaining, rollback]


def _before(promotions: list[Entry], withdrawn: Set[int]) -> list[Entry]:
    """Return the promotions up to the last one, before the current one, of a version not withdrawn."""
    remaining = promotions[:-1]
    while remaining and remaining[-1].version in withdrawn:
        remaining.pop()
    return remaining


def read_ledger(store: Store, name: str) -> Ledger:
    """Read the ledger of the model `name`. It is empty if nothing was published yet.

    Raises:
        StoreError: a line is not an entry; the message has its number.
    """
    content, _ = store.read(_path(name)) or (b"", None)
    return _parse(name, content)


def append(
    store: Store, name: str, decide: Callable[[Ledger], Entry], missing: Sequence[Entry] = ()
) -> Entry:
    """Append the entry that `decide` returns, unless the ledger has it already.

    Args:
        decide: called with the current ledger, and again if somebody else wrote to it in the meantime.
        missing: entries that the ledger lacked, to append before; see `model_loader.registry.repair`.

    Returns:
        The entry.

    Raises:
        ConflictError: somebody else wrote to the ledger at each of the attempts.
    """
    entry = None
    for attempt in range(ATTEMPTS):
        content, etag = store.read(_path(name)) or (b"", None)
        ledger = _parse(name, content)
        # If the store's response was lost, the conflicting write is our own.
        if entry not in ledger.entries:
            entry = decide(ledger)
        added = [each for each in dict.fromkeys((*missing, entry)) if each not in ledger.entries]
        if not added:
            return entry
        lines = [_encode(each) for each in added]
        try:
            store.write(_path(name), b"".join([content, *lines]), etag)
        except ConflictError:
            time.sleep(random.uniform(0, min(0.5, 0.02 * 2**attempt)))  # noqa: S311  (not for cryptography)
        else:
            return entry
    raise ConflictError(
        f"{_path(name)} in the store {store.url} changed during each of {ATTEMPTS} attempts: try again"
    )


def _encode(entry: Entry) -> bytes:
    try:
        return json.dumps(entry.to_json(), ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError as exc:
        raise StoreError(f"cannot be written to the ledger, because it is not Unicode: {entry}") from exc


def author() -> str:
    """Return the name for entries of the ledger: MODEL_PUBLISHER, or `user@host`."""
    return os.environ.get("MODEL_PUBLISHER") or user_at_host()


def user_at_host() -> str:
    """Return who runs this process, `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a numeric user, as in a container, has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def now() -> str:
    """Return the current time, RFC 3339, UTC, in milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _path(name: str) -> str:
    return f"{name}/ledger.jsonl"


def _parse(name: str, content: bytes) -> Ledger:
    *lines, rest = content.split(b"\n")
    if rest:
        raise StoreError(f"{_path(name)}: the last line is cut off: {rest[:80]!r}")
    return Ledger(name, tuple(_entry(name, number, line) for number, line in enumerate(lines, start=1)))


def _entry(name: str, number: int, line: bytes) -> Entry:
    invalid = StoreError(f"{_path(name)}: line {number} is not an entry: {line[:80]!r}")
    try:
        document = json.loads(line)
        entry = Entry(**document)
    except (ValueError, TypeError, RecursionError) as exc:
        raise invalid from exc
    has_types = all(type(value) is (int if key == "version" else str) for key, value in document.items())
    if not has_types or entry.stage not in ACTIONS.get(entry.action, ()):
        raise invalid
    return entry
