"""Publishing: the manifest, version numbers, and publishers that fail, are killed or run at the same time."""

import multiprocessing
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from model_loader.errors import PackageError, StoreError
from model_loader.package import digest_of, hash_file, verify_package
from model_loader.registry.ledger import read_ledger
from model_loader.registry.pull import pull
from model_loader.registry.versions import find, version_numbers
from model_loader.store import Store, open_store
from tests.model_loader import processes
from tests.model_loader.drafts import publish, write_draft, write_external
from tests.model_loader.faults import LostResponse
from tests.model_loader.processes import MIB

CONTEXT = multiprocessing.get_context("spawn")


def run(target: Callable[..., None], *args: object) -> int | None:
    """Run a function in another process and return its exit code; a signal is negative."""
    process = CONTEXT.Process(target=target, args=args)
    process.start()
    process.join(120)
    return process.exitcode


def test_manifest(draft: Path, store: Store) -> None:
    """The manifest has the fields of the draft, the IO specs of the graph, and the uploaded files."""
    published = publish(draft, store)
    document = dict(published.manifest.document)
    assert datetime.fromisoformat(document.pop("created")).tzinfo
    assert document == {
        "schema": 1,
        "name": "tiny",
        "version": 1,
        "files": {name: vars(hash_file(draft / name)) for name in ("model.onnx", "samples.json")},
        "inputs": [{"name": "x", "datatype": "FP32", "shape": ["batch", 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": ["batch", 2]}],
        "features": ["a", "b"],
        "metrics": {"accuracy": 0.97, "log_loss": 0.1},
        "publisher": "tester",
    }
    assert store.read("tiny/1/manifest.json") is not None
    assert published.digest == digest_of(published.text)


def test_letter_case(draft: Path, store: Store) -> None:
    """A name that differs from another model's in letter case only is refused; nothing is written."""
    publish(draft, store)
    names = store.names("")
    with pytest.raises(
        StoreError, match=r"has the model tiny, which some file systems cannot tell from Tiny"
    ):
        publish(draft, store, name="Tiny")
    assert store.names("") == names


def test_fields_of_the_draft(store: Store, workspace: Path) -> None:
    """The trainer's fields are kept; arguments take precedence over them."""
    fields: dict[str, Any] = {
        "classes": ["no", "yes"],
        "data": {"name": "wine", "rows": 142},
        "training": {"commit": "abc"},
        "parent": 7,
    }
    published = publish(write_draft(workspace / "draft", **fields), store)
    assert {field: published.manifest.document[field] for field in fields} == fields
    published = publish(workspace / "draft", store, name="other", parent=3)
    assert published.path == "other/1"
    assert published.manifest.document["parent"] == 3


def test_version_numbers(draft: Path, store: Store) -> None:
    """Each version has the next number, and an entry in the ledger."""
    all_published = [publish(draft, store, reason=f"round {n}") for n in (1, 2, 3)]
    assert version_numbers(store, "tiny") == [1, 2, 3]
    entries = read_ledger(store, "tiny").entries
    assert [(e.action, e.version, e.digest, e.by, e.reason) for e in entries] == [
        ("publish", n, published.digest, "tester", f"round {n}")
        for n, published in enumerate(all_published, start=1)
    ]


def test_store_is_a_triton_repository(draft: Path, store: Store) -> None:
    """A version's directory has only the package; our own files are outside of the numbered directories."""
    publish(draft, store)
    assert store.names("") == [
        "tiny/1/manifest.json",
        "tiny/1/model.onnx",
        "tiny/1/samples.json",
        "tiny/claims/1.json",
        "tiny/ledger.jsonl",
    ]


def test_directory_of_another_tool(draft: Path, store: Store) -> None:
    """A version number that another tool has used is skipped."""
    store.write("tiny/4/model.onnx", b"somebody's", None)
    assert publish(draft, store).path == "tiny/5"


def test_external_data(store: Store, workspace: Path) -> None:
    """External data files are part of the package, also in subdirectories."""
    draft = write_external(workspace / "draft", "weights/part.bin")
    published = publish(draft, store)
    pull(store, published, workspace / "model")
    assert set(verify_package(workspace / "model").manifest.files) == {"model.onnx", "weights/part.bin"}


def test_published_again(store: Store, workspace: Path, draft: Path) -> None:
    """A pulled package can be published to another store; publishing replaces the fields it writes."""
    pull(store, publish(draft, store), workspace / "model")
    published = publish(workspace / "model", open_store("file:elsewhere"), name="copy")
    assert published.path == "copy/1"
    assert published.manifest.metrics == {"accuracy": 0.97, "log_loss": 0.1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda size: bytes(size), "weights.bin changed while it was being published"),
        (lambda size: b"", "weights.bin changed|became shorter while it was being published"),
        (lambda size: b"x" * (size + 1), "weights.bin changed while it was being published"),
    ],
)
def test_changed_while_published(
    workspace: Path, store: Store, change: Callable[[int], bytes], message: str
) -> None:
    """A file that changes after it was checked is not published."""
    draft = write_external(workspace / "draft")
    weights = draft / "weights.bin"
    weights.write_bytes(b"\1" * weights.stat().st_size)

    def overwrite(path: str, done: int, total: int) -> None:
        if path == "model.onnx":
            weights.write_bytes(change(weights.stat().st_size))

    with pytest.raises(PackageError, match=message):
        publish(draft, store, progress=overwrite)
    assert version_numbers(store, "tiny") == []


def test_shorter_while_read(workspace: Path, store: Store) -> None:
    """A file that becomes shorter during its upload is not published."""
    draft = write_external(workspace / "draft", columns=8 * 1024)
    weights = draft / "weights.bin"

    def truncate(path: str, done: int, total: int) -> None:
        if path == "weights.bin" and weights.stat().st_size:
            os.truncate(weights, 0)

    with pytest.raises(PackageError, match=r"weights\.bin became shorter while it was being published"):
        publish(draft, store, progress=truncate)
    assert version_numbers(store, "tiny") == []


@pytest.mark.parametrize(
    ("name", "version"), [("claims/1.json", 2), ("manifest.json", 1), ("ledger.jsonl", 1)]
)
def test_lost_response(draft: Path, store: Store, name: str, version: int) -> None:
    """If the response to a write is lost, nothing is written twice; a version number can be skipped."""
    assert publish(draft, LostResponse(store, name)).manifest.version == version
    assert version_numbers(store, "tiny") == [version]
    assert [entry.version for entry in read_ledger(store, "tiny").entries] == [version]


def test_killed_between_operations(draft: Path, store: Store, store_url: str) -> None:
    """A publisher that is killed leaves a complete version or none, and its number is not used again.

    The operations: list the names (0), read the ledger (1), list for missing entries (2) and for the number
    (3), claim (4), upload two files (5, 6), read the claim (7), write the manifest (8), read the claim for
    the entry (9), read the ledger (10), write it (11).
    """
    for operation in range(10):
        assert run(processes.publish_and_die, store_url, draft, operation) == -9
    # Those killed at 5 to 8 had claimed the numbers 1 to 4; the one killed at 9 had published.
    assert version_numbers(store, "tiny") == [5]
    assert publish(draft, store).path == "tiny/6"
    assert [entry.version for entry in read_ledger(store, "tiny").entries] == [5, 6]
    for version in version_numbers(store, "tiny"):
        pull(store, find(store, "tiny", str(version)), Path("model"))
        assert verify_package(Path("model")).manifest.version == version


@pytest.mark.parametrize("path", ["model.onnx", "weights.bin"])
def test_killed_within_a_file(workspace: Path, store: Store, store_url: str, path: str) -> None:
    """A publisher that is killed during an upload publishes nothing; its number is skipped."""
    draft = write_external(workspace / "draft", columns=8 * 1024)
    assert run(processes.publish_and_die_within, store_url, draft, path) == -9
    assert version_numbers(store, "tiny") == []
    assert publish(draft, store).path == "tiny/2"
    pull(store, find(store, "tiny", "latest"), workspace / "model")


def test_concurrent_publishers(draft: Path, store: Store, store_url: str) -> None:
    """Two publishers, twenty times at the same moment: no version is used twice, no ledger entry is lost."""
    barrier = CONTEXT.Barrier(2)
    publishers = [
        CONTEXT.Process(target=processes.publish_rounds, args=(store_url, draft, 20, barrier))
        for _ in range(2)
    ]
    for process in publishers:
        process.start()
    for process in publishers:
        process.join(120)
    assert [process.exitcode for process in publishers] == [0, 0]
    numbers = version_numbers(store, "tiny")
    assert len(numbers) == 40
    assert sorted(entry.version for entry in read_ledger(store, "tiny").entries) == numbers


def test_large_files_stream(workspace: Path, store: Store, store_url: str) -> None:
    """A file of 300 MiB is uploaded and downloaded with less than 120 MiB of memory."""
    publish(write_external(workspace / "small"), store)
    draft = write_external(workspace / "large", columns=300 * MIB // 4096)
    assert run(processes.publish_and_pull_within, store_url, draft, 120 * MIB) == 0
