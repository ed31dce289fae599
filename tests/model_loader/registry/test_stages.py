"""Stages and the ledger that they are read from."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_loader.errors import ConflictError, LoaderError, NotFoundError, StoreError
from model_loader.registry.ledger import Entry, Ledger, append, author, now, read_ledger
from model_loader.registry.publish import publish
from model_loader.registry.stages import promote, rollback
from model_loader.registry.versions import find
from model_loader.store import Store
from tests.model_loader.faults import Forgetful


@pytest.fixture
def three(draft: Path, store: Store) -> Store:
    """A store with tiny/1, tiny/2 and tiny/3."""
    for _ in range(3):
        publish(draft, store)
    return store


def held(store: Store, stage: str = "production") -> int:
    """The version that a stage holds."""
    return find(store, "tiny", stage).manifest.version


def test_promote(three: Store) -> None:
    """A stage holds what it was promoted to last, and the ledger says by whom and why."""
    promote(three, "tiny", "2", "production", "better")
    assert held(three) == 2
    promote(three, "tiny", "latest", "production")
    assert held(three) == 3
    entry = read_ledger(three, "tiny").entries[-2]
    assert (entry.action, entry.version, entry.stage, entry.by, entry.reason) == (
        "promote",
        2,
        "production",
        "tester",
        "better",
    )
    assert entry.digest == find(three, "tiny", "2").digest


def test_stages_are_apart(three: Store) -> None:
    """One stage does not move the other, and one can be promoted to what the other holds."""
    promote(three, "tiny", "2", "staging")
    with pytest.raises(NotFoundError, match="tiny has no version in production: promote one"):
        held(three)
    promote(three, "tiny", "staging", "production")
    promote(three, "tiny", "3", "staging")
    assert (held(three), held(three, "staging")) == (2, 3)


def test_promote_again(three: Store) -> None:
    """What a stage holds already is not written again, so that a pipeline can be repeated."""
    first = promote(three, "tiny", "2", "production")
    assert promote(three, "tiny", "2", "production") == first
    assert len(read_ledger(three, "tiny").entries) == 4


def test_rollback_goes_back_and_further(three: Store) -> None:
    """Each rollback goes one promotion back, past those that were rolled back before, down to the first."""
    for version in ("1", "2", "3"):
        promote(three, "tiny", version, "production")
    assert rollback(three, "tiny", "production", "errs").version == 2
    assert held(three) == 2
    promote(three, "tiny", "3", "production")
    assert rollback(three, "tiny", "production").version == 2
    assert rollback(three, "tiny", "production").version == 1
    with pytest.raises(NotFoundError, match="production had no version before tiny/1: cannot roll back"):
        rollback(three, "tiny", "production")
    assert held(three) == 1


def test_rollback_of_nothing(three: Store) -> None:
    """A stage that holds nothing has nothing to go back to."""
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
def test_promote_of_what_is_not_published(three: Store, version: str, message: str) -> None:
    """Only a published version can be promoted."""
    with pytest.raises(LoaderError, match=message):
        promote(three, "tiny", version, "production")
    assert len(read_ledger(three, "tiny").entries) == 3


def test_claimed_is_not_published(three: Store) -> None:
    """A version whose publisher died before its manifest cannot be promoted, nor is it the latest."""
    three.write("tiny/claims/4.json", b"{}", None)
    three.write("tiny/4/model.onnx", b"half", None)
    with pytest.raises(NotFoundError, match="tiny/4 is not published"):
        promote(three, "tiny", "4", "production")
    assert find(three, "tiny", "latest").manifest.version == 3


def test_somebody_else_writes_in_between(three: Store) -> None:
    """A line that came between reading and writing is kept, and what is written takes it into account."""
    promote(three, "tiny", "1", "production")
    asked: list[int] = []

    def decide(ledger: Ledger) -> Entry:
        if not asked:
            promote(three, "tiny", "2", "production")
        asked.append(len(ledger.entries))
        return Entry(now(), "promote", 3, find(three, "tiny", "3").digest, author(), "production")

    append(three, "tiny", decide)
    assert asked == [4, 5]
    assert [entry.version for entry in read_ledger(three, "tiny").promotions("production")] == [1, 2, 3]
    rollback(three, "tiny", "production")
    assert held(three) == 2


def test_somebody_else_writes_all_the_time(three: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who never gets a word in gives up, and says so."""
    monkeypatch.setattr("model_loader.registry.ledger.ATTEMPTS", 4)

    def decide(ledger: Ledger) -> Entry:
        promote(three, "tiny", str(len(ledger.entries) % 2 + 1), "staging")
        return Entry(now(), "promote", 3, find(three, "tiny", "3").digest, author(), "production")

    with pytest.raises(ConflictError, match=r"tiny/ledger.jsonl .* is changed by others all the time"):
        append(three, "tiny", decide)


def test_lost_answer(three: Store) -> None:
    """A rollback whose answer was lost goes back once, although it was told that somebody else wrote."""
    for version in ("1", "2", "3"):
        promote(three, "tiny", version, "production")
    assert rollback(Forgetful(three, "ledger.jsonl"), "tiny", "production").version == 2
    assert held(three) == 2
    assert len(read_ledger(three, "tiny").entries) == 7


def test_many_promote_at_once(three: Store) -> None:
    """No line is lost, and the stage holds what the last line says."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: promote(three, "tiny", str(n % 3 + 1), "staging"), range(12)))
    entries = read_ledger(three, "tiny").entries
    assert held(three, "staging") == entries[-1].version


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
        {name: LINE[name] for name in LINE if name != "by"},
    ],
)
def test_corrupt_line(three: Store, line: str | dict[str, object]) -> None:
    """A line that cannot be understood is refused with its number; nothing is guessed, nothing written."""
    text = line if isinstance(line, str) else json.dumps(line)
    content, etag = three.read("tiny/ledger.jsonl") or (b"", None)
    three.write("tiny/ledger.jsonl", content + text.encode(errors="surrogateescape") + b"\n", etag)
    for act in (
        lambda: find(three, "tiny", "latest"),
        lambda: promote(three, "tiny", "1", "production"),
        lambda: publish(Path("draft"), three),
    ):
        with pytest.raises(StoreError, match=r"tiny/ledger.jsonl: line 4 is not an entry"):
            act()
    assert "tiny/claims/4.json" not in three.names("")


def test_cut_off_ledger(three: Store) -> None:
    """A ledger that ends in the middle of a line is refused, even where the half is a whole entry."""
    content, etag = three.read("tiny/ledger.jsonl") or (b"", None)
    three.write("tiny/ledger.jsonl", content[:-1], etag)
    with pytest.raises(StoreError, match=r"tiny/ledger.jsonl: the last line is cut off"):
        find(three, "tiny", "latest")


@pytest.mark.parametrize("version", [3, 1])
def test_rollback_that_never_was(three: Store, version: int) -> None:
    """A rollback to what the stage did not have before makes the stage unknown, and that is said."""
    for promoted in ("1", "2", "3"):
        promote(three, "tiny", promoted, "production")
    digest = find(three, "tiny", str(version)).digest
    entry = Entry(now(), "rollback", version, digest, author(), "production")
    append(three, "tiny", lambda _: entry)
    with pytest.raises(
        StoreError, match=f"production was rolled back to version {version} at .*, which is n"
    ):
        held(three)


def test_rollback_to_what_was_changed(three: Store) -> None:
    """What a stage held before is proven again before it is held again."""
    promote(three, "tiny", "1", "production")
    promote(three, "tiny", "2", "production")
    content, etag = three.read("tiny/1/manifest.json") or (b"", None)
    three.write("tiny/1/manifest.json", content + b" ", etag)
    with pytest.raises(LoaderError, match=re.escape("is not what was published: sha256:")):
        rollback(three, "tiny", "production")
    assert held(three) == 2


def test_author(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is always named: by the setting, the system, or the number of a user without a name."""
    assert author() == "tester"
    monkeypatch.delenv("MODEL_PUBLISHER")
    monkeypatch.setenv("LOGNAME", "ada")
    assert author().startswith("ada@")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert re.fullmatch(r"[^@\s]+@[^@\s]+", author())
