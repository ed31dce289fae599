"""Repair: publishers that were killed or failed, and what the next command and `publish --repair` do."""

import json
import multiprocessing
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from model_loader.errors import StoreError
from model_loader.package import encode, verify_package
from model_loader.package.draft import read_draft
from model_loader.registry.check import check_files
from model_loader.registry.ledger import read_ledger
from model_loader.registry.publish import publish_draft
from model_loader.registry.pull import pull
from model_loader.registry.repair import incomplete, repair
from model_loader.registry.stages import promote, rollback, withdraw
from model_loader.registry.versions import claimed_numbers, find, version_numbers
from model_loader.store import Store, open_store
from tests.model_loader import processes
from tests.model_loader.command_line import Loader
from tests.model_loader.drafts import publish

CONTEXT = multiprocessing.get_context("spawn")


class BrokenLedger:
    """A store that rejects writes to the ledger."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, name: str, content: bytes, etag: str | None) -> None:
        """Write, except to the ledger."""
        if name.endswith("ledger.jsonl"):
            raise StoreError("the disk is full")
        self._store.write(name, content, etag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def rows(loader: Loader) -> dict[int, dict[str, Any]]:
    """Return version → row, as `list` shows them."""
    return {row["version"]: row for row in json.loads(loader("list", "--name", "tiny", "--json").out)}


def make_older(store: Store, version: int, hours: float) -> None:
    """Date a claim back."""
    path = f"tiny/claims/{version}.json"
    content, etag = store.read(path) or (b"", None)
    claimed = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    store.write(path, encode(json.loads(content) | {"time": claimed}), etag)


def test_failed_after_the_commit(draft: Path, store: Store) -> None:
    """A publish that cannot write the ledger says that the version is published, and what remains."""
    message = r"tiny/1@sha256:\w+ is published in .*: the disk is full. .* publish --repair --name tiny"
    with pytest.raises(StoreError, match=message):
        publish(draft, BrokenLedger(store), reason="better")
    assert version_numbers(store, "tiny") == [1]
    assert [entry.version for entry in repair(store, "tiny").entries] == [1]
    (entry,) = read_ledger(store, "tiny").entries
    assert (entry.action, entry.by, entry.reason) == ("publish", "tester", "better")
    assert not repair(store, "tiny").entries


@pytest.mark.parametrize("command", ["publish", "promote", "rollback", "withdraw"])
def test_the_next_command_completes_the_ledger(draft: Path, store: Store, command: str) -> None:
    """Each command that changes the ledger adds what it lacks, before its own entry."""
    for _ in range(2):
        publish(draft, store)
        promote(store, "tiny", "latest", "production")
    with pytest.raises(StoreError):
        publish(draft, BrokenLedger(store))
    match command:
        case "publish":
            publish(draft, store)
        case "promote":
            promote(store, "tiny", "latest", "production")
        case "rollback":
            rollback(store, "tiny", "production")
        case "withdraw":
            withdraw(store, "tiny", "3", "leaks")
    before, last = read_ledger(store, "tiny").entries[-2:]
    assert (before.action, before.version, before.digest) == ("publish", 3, find(store, "tiny", "3").digest)
    assert last.action == command


def test_invalid_version_without_an_entry(draft: Path, store: Store) -> None:
    """A version with an invalid manifest gets no entry, and does not stop a rollback."""
    for _ in range(2):
        publish(draft, store)
        promote(store, "tiny", "latest", "production")
    store.write("tiny/3/manifest.json", b"{}", None)
    assert rollback(store, "tiny", "production").version == 1
    assert [entry.version for entry in read_ledger(store, "tiny").entries] == [1, 1, 2, 2, 1]


def test_incomplete(draft: Path, store: Store, loader: Loader) -> None:
    """Files of a publisher that died are shown at once, and removed when it cannot be at work any more."""
    publish(draft, store)
    store.write("tiny/claims/2.json", encode({"by": "ada", "time": "", "reason": None}), None)
    store.write("tiny/2/model.onnx", b"half", None)
    make_older(store, 2, hours=23)
    assert rows(loader)[2]["complete"] is False
    printed = loader("list").out
    assert "incomplete" in printed
    assert "publish --repair --name tiny" in printed
    assert "kept tiny/2, claimed by ada at 20" in loader("publish", "--repair").out
    assert "tiny/2/model.onnx" in store.names("tiny/")
    make_older(store, 2, hours=25)
    assert "removed the files of tiny/2, claimed by ada" in loader("publish", "--repair").out
    assert store.names("tiny/2/") == []
    assert list(rows(loader)) == [1]
    assert publish(draft, store).path == "tiny/3"


def test_incomplete_only(store: Store, loader: Loader) -> None:
    """A model whose only publisher died is shown too."""
    store.write("tiny/claims/1.json", encode({"by": "ada", "time": "", "reason": None}), None)
    store.write("tiny/1/model.onnx", b"half", None)
    assert rows(loader)[1]["complete"] is False
    assert "publish --repair --name tiny" in loader("list").out


def test_slow_publisher(draft: Path, store: Store) -> None:
    """A publisher whose files were removed does not publish what remains of them."""

    def sweep(path: str, done: int, total: int) -> None:
        if path == "samples.json":
            make_older(store, 1, hours=25)
            assert [claim.version for claim in repair(store, "tiny").swept] == [1]

    with pytest.raises(StoreError, match="tiny/1"):
        publish(draft, store, progress=sweep)
    assert version_numbers(store, "tiny") == []
    repair(store, "tiny")
    assert store.names("tiny/1/") == []
    assert incomplete(store, "tiny") == []


def test_files_of_another_tool(draft: Path, store: Store) -> None:
    """Files below a number that no publisher has claimed are left alone."""
    store.write("tiny/4/model.onnx", b"somebody's", None)
    assert publish(draft, store).path == "tiny/5"
    done = repair(store, "tiny")
    assert not (*done.entries, *done.swept, *done.kept)
    assert "tiny/4/model.onnx" in store.names("tiny/")


def test_killed_at_any_time(draft: Path, loader: Loader, request: pytest.FixtureRequest) -> None:
    """Killed at random times: every version is whole, in the ledger or shown; a repair completes it."""
    store, checked = open_store("file:model_store"), check_files(read_draft(draft))
    began = time.monotonic()
    for _ in range(3):
        publish_draft(checked, store)
    longest_s = (time.monotonic() - began) / 3
    generator = random.Random(7)
    count = 100 if request.config.getoption("all") else 20
    delays_s = [generator.uniform(0, longest_s) for _ in range(count)]
    process = CONTEXT.Process(target=processes.publish_and_die_at, args=("file:model_store", draft, delays_s))
    process.start()
    process.join(120)
    assert process.exitcode == 0

    shown, published = rows(loader), version_numbers(store, "tiny")
    assert set(shown) == set(claimed_numbers(store, "tiny"))
    recorded = {entry.version for entry in read_ledger(store, "tiny").entries}
    for version in published:
        pull(store, find(store, "tiny", str(version)), Path("model"))
        assert verify_package(Path("model")).manifest.version == version
        assert shown[version]["in_ledger"] == (version in recorded)
    for version in set(shown) - set(published):
        assert shown[version]["complete"] is False
        make_older(store, version, hours=25)

    assert loader("publish", "--repair", "--name", "tiny").code == 0
    assert {entry.version for entry in read_ledger(store, "tiny").entries} == set(published)
    assert {int(path.name) for path in Path("model_store/tiny").iterdir() if path.name.isdecimal()} == set(
        published
    )
    assert {row["in_ledger"] for row in rows(loader).values()} == {True}
