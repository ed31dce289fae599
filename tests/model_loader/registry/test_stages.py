"""Stages, and the ledger that defines them."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_loader.errors import ConflictError, LoaderError, NotFoundError, StoreError
from model_loader.registry.ledger import BUILD, Entry, Ledger, append, author, now, read_ledger
from model_loader.registry.stages import promote, rollback, withdraw
from model_loader.registry.versions import find, version_numbers
from model_loader.store import Store
from tests.model_loader.drafts import publish
from tests.model_loader.faults import LostResponse


def current_version(store: Store, stage: str = "production") -> int:
    """Return the version that a stage has."""
    return find(store, "tiny", stage).manifest.version


def test_promote(three: Store) -> None:
    """A stage has the version that was promoted last, and the ledger records by whom and why."""
    promote(three, "tiny", "2", "production", "better")
    assert current_version(three) == 2
    promote(three, "tiny", "latest", "production")
    assert current_version(three) == 3
    entry = read_ledger(three, "tiny").entries[-2]
    assert (entry.action, entry.version, entry.stage, entry.by, entry.reason) == (
        "promote",
        2,
        "production",
        "tester",
        "better",
    )
    assert entry.digest == find(three, "tiny", "2").digest


def test_stages_are_independent(three: Store) -> None:
    """Promotion changes one stage only; a stage can be promoted to the version of the other."""
    promote(three, "tiny", "2", "staging")
    with pytest.raises(NotFoundError, match="tiny has no version in production: promote one"):
        current_version(three)
    promote(three, "tiny", "staging", "production")
    promote(three, "tiny", "3", "staging")
    assert (current_version(three), current_version(three, "staging")) == (2, 3)


def test_promote_again(three: Store) -> None:
    """Promoting the current version writes nothing, so that a pipeline can be repeated."""
    first = promote(three, "tiny", "2", "production")
    assert promote(three, "tiny", "2", "production") == first
    assert len(read_ledger(three, "tiny").entries) == 4


def test_build(three: Store) -> None:
    """A build's mark is no stage: nothing is selected by it, no version has it, and it keeps none in use."""
    promote(three, "tiny", "2", "production")
    first = promote(three, "tiny", "3", BUILD)
    assert promote(three, "tiny", "3", BUILD) == first
    ledger = read_ledger(three, "tiny")
    assert (ledger.stages(2), ledger.stages(3)) == (["production"], [])
    assert ledger.current(BUILD) == first
    assert current_version(three) == 2
    with pytest.raises(StoreError, match="expected latest, staging, production or a number"):
        find(three, "tiny", BUILD)
    assert withdraw(three, "tiny", "3", "leaks").version == 3
    with pytest.raises(StoreError, match="tiny/3 cannot be promoted"):
        promote(three, "tiny", "3", "staging")
    promote(three, "tiny", "1", BUILD)
    promote(three, "tiny", "2", BUILD)
    assert find(three, "tiny", "latest").manifest.version == 2


def test_rollback(three: Store) -> None:
    """Each rollback goes back by one promotion, without those that were rolled back, down to the first."""
    for version in ("1", "2", "3"):
        promote(three, "tiny", version, "production")
    assert rollback(three, "tiny", "production", "errs").version == 2
    assert current_version(three) == 2
    promote(three, "tiny", "3", "production")
    assert rollback(three, "tiny", "production").version == 2
    assert rollback(three, "tiny", "production").version == 1
    with pytest.raises(NotFoundError, match="cannot roll back: production had no version before tiny/1"):
        rollback(three, "tiny", "production")
    assert current_version(three) == 1


def test_rollback_of_nothing(three: Store) -> None:
    """A stage without a version cannot be rolled back."""
    with pytest.raises(NotFoundError, match="tiny has no version in production"):
        rollback(three, "tiny", "production")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("9", r"tiny/9 is not published in the store .*; versions: 1, 2, 3"),
        ("0", r"expected latest, staging, production or a number as the version, got '0'"),
        ("-1", r"expected latest, staging, production or a number as the version, got '-1'"),
        ("02", r"expected latest, staging, production or a number as the version, got '02'"),
        ("canary", r"expected latest, staging, production or a number as the version, got 'canary'"),
        ("staging", r"tiny has no version in staging: promote one"),
    ],
)
def test_promote_of_an_unpublished_version(three: Store, version: str, message: str) -> None:
    """Only a published version can be promoted."""
    with pytest.raises(LoaderError, match=message):
        promote(three, "tiny", version, "production")
    assert len(read_ledger(three, "tiny").entries) == 3


def test_claimed_version(three: Store) -> None:
    """A version without a manifest, because its publisher died, cannot be promoted and is not the latest."""
    three.write("tiny/claims/4.json", b"{}", None)
    three.write("tiny/4/model.onnx", b"half", None)
    with pytest.raises(NotFoundError, match="tiny/4 is not published"):
        promote(three, "tiny", "4", "production")
    assert find(three, "tiny", "latest").manifest.version == 3


def test_concurrent_entry(three: Store) -> None:
    """An entry that was written in the meantime is kept, and `decide` is called again with it."""
    promote(three, "tiny", "1", "production")
    entry_counts: list[int] = []

    def decide(ledger: Ledger) -> Entry:
        if not entry_counts:
            promote(three, "tiny", "2", "production")
        entry_counts.append(len(ledger.entries))
        return Entry(now(), "promote", 3, find(three, "tiny", "3").digest, author(), "production")

    append(three, "tiny", decide)
    assert entry_counts == [4, 5]
    assert [entry.version for entry in read_ledger(three, "tiny").promotions("production")] == [1, 2, 3]
    rollback(three, "tiny", "production")
    assert current_version(three) == 2


def test_permanent_conflict(three: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that gets a conflict at each attempt gives up, with a message."""
    monkeypatch.setattr("model_loader.registry.ledger.ATTEMPTS", 4)

    def decide(ledger: Ledger) -> Entry:
        promote(three, "tiny", str(len(ledger.entries) % 2 + 1), "staging")
        return Entry(now(), "promote", 3, find(three, "tiny", "3").digest, author(), "production")

    with pytest.raises(ConflictError, match=r"tiny/ledger.jsonl .* changed during each of 4 attempts"):
        append(three, "tiny", decide)


def test_lost_response(three: Store) -> None:
    """A rollback whose response is lost goes back by one version only, although the retry gets a conflict."""
    for version in ("1", "2", "3"):
        promote(three, "tiny", version, "production")
    assert rollback(LostResponse(three, "ledger.jsonl"), "tiny", "production").version == 2
    assert current_version(three) == 2
    assert len(read_ledger(three, "tiny").entries) == 7


def test_concurrent_promotions(three: Store) -> None:
    """No entry is lost, and the stage has the version of the last one."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: promote(three, "tiny", str(n % 3 + 1), "staging"), range(12)))
    entries = read_ledger(three, "tiny").entries
    assert current_version(three, "staging") == entries[-1].version


LINE = {"time": "2026-01-01T00:00:00Z", "action": "publish", "version": 1, "digest": "sha256:0", "by": "x"}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "[]",
        '{"time": "2026',
        "[" * 100_000,
        "\udcff",
        LINE | {"action": "delete"},
        LINE | {"action": ["publish"]},
        LINE | {"version": "1"},
        LINE | {"version": True},
        LINE | {"reason": 3},
        LINE | {"extra": "field"},
        LINE | {"stage": "production"},
        LINE | {"action": "promote"},
        LINE | {"action": "promote", "stage": "canary"},
        LINE | {"action": "rollback", "stage": "build"},
        LINE | {"action": "retrain", "stage": "production"},
        {name: LINE[name] for name in LINE if name != "by"},
    ],
)
def test_corrupt_line(three: Store, line: str | dict[str, object]) -> None:
    """A line that is not an entry is refused with its number; nothing is written."""
    text = line if isinstance(line, str) else json.dumps(line)
    content, etag = three.read("tiny/ledger.jsonl") or (b"", None)
    three.write("tiny/ledger.jsonl", content + text.encode(errors="surrogateescape") + b"\n", etag)
    for operation in (
        lambda: find(three, "tiny", "latest"),
        lambda: promote(three, "tiny", "1", "production"),
        lambda: publish(Path("draft"), three),
    ):
        with pytest.raises(StoreError, match=r"tiny/ledger.jsonl: line 4 is not an entry"):
            operation()
    assert "tiny/claims/4.json" not in three.names("")


def test_cut_off_ledger(three: Store) -> None:
    """A ledger whose last line does not end is refused, even if the line is a complete entry."""
    content, etag = three.read("tiny/ledger.jsonl") or (b"", None)
    three.write("tiny/ledger.jsonl", content[:-1], etag)
    with pytest.raises(StoreError, match=r"tiny/ledger.jsonl: the last line is cut off"):
        find(three, "tiny", "latest")


def test_reason_that_is_not_unicode(three: Store) -> None:
    """A reason that cannot be written, as from a terminal with another encoding, is refused before."""
    for operation in (
        lambda: promote(three, "tiny", "1", "production", "caf\udce9"),
        lambda: withdraw(three, "tiny", "1", "caf\udce9"),
        lambda: publish(Path("draft"), three, reason="caf\udce9"),
    ):
        with pytest.raises(LoaderError, match=r"not Unicode: Entry|surrogates not allowed"):
            operation()
    assert len(read_ledger(three, "tiny").entries) == 3
    assert version_numbers(three, "tiny") == [1, 2, 3]


def test_rollback_to_a_version(three: Store) -> None:
    """A rollback to a version is one entry, whatever the stage had before, and goes back from there."""
    for version in ("1", "2", "3"):
        promote(three, "tiny", version, "production")
    entry = rollback(three, "tiny", "production", "errs", to=1)
    assert (entry.action, entry.version, entry.reason) == ("rollback", 1, "errs")
    assert current_version(three) == 1
    assert len(read_ledger(three, "tiny").entries) == 7
    with pytest.raises(NotFoundError, match="production had no version before tiny/1"):
        rollback(three, "tiny", "production")


def test_rollback_to_a_version_that_was_never_promoted(three: Store) -> None:
    """It replaces the current version: a rollback after it does not return to that one."""
    promote(three, "tiny", "1", "production")
    promote(three, "tiny", "3", "production")
    assert rollback(three, "tiny", "production", to=2).action == "rollback"
    assert current_version(three) == 2
    assert rollback(three, "tiny", "production").version == 1


def test_rollback_of_nothing_to_a_version(three: Store) -> None:
    """A stage that never had a version can be rolled back to one: its ledger may be younger than its pods."""
    assert rollback(three, "tiny", "production", to=2).action == "rollback"
    assert current_version(three) == 2


def test_rollback_to_a_version_again(three: Store) -> None:
    """A rollback to the current version writes nothing, so that it can be repeated, also at the same time."""
    promote(three, "tiny", "2", "production")
    with ThreadPoolExecutor(4) as pool:
        entries = set(pool.map(lambda _: rollback(three, "tiny", "production", to=1), range(8)))
    assert len(entries) == 1
    assert len(read_ledger(three, "tiny").entries) == 5


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (1, "tiny/1 cannot be promoted: it was withdrawn by tester at .*: errs"),
        (9, "tiny/9 is not published in the store .*; versions: 1, 2, 3"),
    ],
)
def test_refused_rollback_to_a_version(three: Store, version: int, message: str) -> None:
    """A withdrawn or unpublished version is refused."""
    promote(three, "tiny", "2", "production")
    withdraw(three, "tiny", "1", "errs")
    with pytest.raises(StoreError, match=message):
        rollback(three, "tiny", "production", to=version)
    assert current_version(three) == 2


@pytest.mark.parametrize(
    ("version", "message"),
    [(3, "production was rolled back to version 3 at .*, which it had already"), (1, "which was withdrawn")],
)
def test_impossible_rollback(three: Store, version: int, message: str) -> None:
    """A rollback to the current version or to a withdrawn one makes the ledger invalid."""
    for promoted in ("1", "2", "3"):
        promote(three, "tiny", promoted, "production")
    withdraw(three, "tiny", "1", "errs")
    digest = find(three, "tiny", str(version)).digest
    entry = Entry(now(), "rollback", version, digest, author(), "production")
    append(three, "tiny", lambda _: entry)
    with pytest.raises(StoreError, match=message):
        current_version(three)


def test_rollback_to_a_changed_version(three: Store) -> None:
    """The previous version is verified before a rollback to it."""
    promote(three, "tiny", "1", "production")
    promote(three, "tiny", "2", "production")
    content, etag = three.read("tiny/1/manifest.json") or (b"", None)
    three.write("tiny/1/manifest.json", content + b" ", etag)
    with pytest.raises(LoaderError, match=re.escape("is not what was published: sha256:")):
        rollback(three, "tiny", "production")
    assert current_version(three) == 2


def test_author(monkeypatch: pytest.MonkeyPatch) -> None:
    """The author is the setting, the user name, or the number of a user without a name."""
    assert author() == "tester"
    monkeypatch.delenv("MODEL_PUBLISHER")
    monkeypatch.setenv("LOGNAME", "ada")
    assert author().startswith("ada@")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert re.fullmatch(r"[^@\s]+@[^@\s]+", author())
