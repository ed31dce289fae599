"""Stores that are broken, manipulated or missing: nothing is pulled from them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from model_loader.package import encode, hash_file
from model_loader.store import Store
from tests.model_loader.command_line import Loader, Snapshot, snapshot
from tests.model_loader.drafts import publish


def replace(store: Store, name: str, content: bytes) -> None:
    """Overwrite an object, as somebody with the store's keys can without the loader."""
    _, etag = store.read(name) or (b"", None)
    store.write(name, content, etag)


def truncated_file(store: Store) -> None:
    """Truncate a file."""
    content, _ = store.read("tiny/2/model.onnx") or (b"", None)
    replace(store, "tiny/2/model.onnx", content[:-1])


def changed_file(store: Store) -> None:
    """Change a file without changing its size."""
    content, _ = store.read("tiny/2/model.onnx") or (b"", None)
    replace(store, "tiny/2/model.onnx", content[:-1] + b"\0")


def wrong_hash(store: Store) -> None:
    """Publish a manifest with the hash of another file."""
    write_version_3(store, files={"model.onnx": {"sha256": "0" * 64, "bytes": 1}})


def rewritten_manifest(store: Store) -> None:
    """Change a manifest after it was published; its hashes are still right."""
    content, _ = store.read("tiny/2/manifest.json") or (b"", None)
    replace(store, "tiny/2/manifest.json", content + b"\n")


def missing_file(store: Store) -> None:
    """Publish a manifest that lists a file which was not uploaded."""
    write_version_3(
        store, files={"model.onnx": file_entry(store), "weights.bin": {"sha256": "0" * 64, "bytes": 1}}
    )


def another_version(store: Store) -> None:
    """Publish the manifest of another version."""
    write_version_3(store, version=1)


def write_version_3(store: Store, **changes: Any) -> None:
    """Write tiny/3 without an entry in the ledger; keywords replace fields of its manifest."""
    content, _ = store.read("tiny/2/manifest.json") or (b"", None)
    model, _ = store.read("tiny/2/model.onnx") or (b"", None)
    store.write("tiny/3/model.onnx", model, None)
    document = json.loads(content) | {"version": 3, "files": {"model.onnx": file_entry(store)}} | changes
    store.write("tiny/3/manifest.json", encode(document), None)


def file_entry(store: Store) -> dict[str, Any]:
    """Return the entry of the model file, as in a manifest."""
    model, _ = store.read("tiny/2/model.onnx") or (b"", None)
    Path("copy.onnx").write_bytes(model)
    return dict(vars(hash_file(Path("copy.onnx"))))


def corrupt_ledger(store: Store) -> None:
    """Append a line that is not an entry to the ledger."""
    content, _ = store.read("tiny/ledger.jsonl") or (b"", None)
    replace(store, "tiny/ledger.jsonl", content + b"{}\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated_file, r"tiny/2@sha256:\w{64}: model.onnx is not what was published: expected sha256 "),
        (changed_file, r"tiny/2@sha256:\w{64}: model.onnx is not what was published: expected sha256 "),
        (wrong_hash, r"model.onnx is not what was published: expected 1 bytes, the store has more"),
        (rewritten_manifest, r"tiny/2@sha256:\w{64} in the store .* is not what was published: sha256:"),
        (missing_file, r"tiny/3/weights.bin is not in the store"),
        (another_version, r"tiny/3 in the store .* has the manifest of tiny/1"),
        (corrupt_ledger, r"tiny/ledger.jsonl: line 3 is not an entry: b'{}'"),
    ],
)
def test_broken_store(
    pulled: Snapshot, draft: Path, store: Store, loader: Loader, damage: Any, message: str
) -> None:
    """Anything that cannot be verified: one line on stderr, exit code 1, `model/` and the lock unchanged."""
    publish(draft, store)
    damage(store)
    result = loader("pull")
    assert result.code == 1
    assert not result.out
    (line,) = result.err.splitlines()
    assert re.search(message, line)
    assert snapshot(Path()) == pulled


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/tmp/x", "..", ".", "", "a//b", "./a", "a\\..\\x", "C:x", "a\nb", "a/", "~/\0"],
)
def test_paths_outside_the_package(
    pulled: Snapshot, draft: Path, store: Store, loader: Loader, path: str
) -> None:
    """A manifest with a path outside of the package is refused before anything is downloaded."""
    publish(draft, store)
    write_version_3(store, files={"model.onnx": file_entry(store), path: file_entry(store)})
    before = sorted(Path().rglob("*"))
    result = loader("pull")
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert "is outside of the package directory or cannot be stored" in line
    assert snapshot(Path()) == pulled
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:missing", "the store file:missing has no models: publish one, or correct the URL"),
        ("file:draft/model.onnx", "store file:draft/model.onnx: its directory: Not a directory"),
        ("model_store", "store 'model_store': expected file:PATH or https://"),
    ],
)
def test_no_such_store(pulled: Snapshot, loader: Loader, url: str, message: str) -> None:
    """A store that does not exist: one line that says what to do, exit code 1, and `model/` unchanged."""
    result = loader("pull", "--store", url)
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert message in line
    assert snapshot(Path()) == pulled
