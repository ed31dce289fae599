"""Copying versions between stores of each kind."""

import io
import json
from pathlib import Path
from uuid import uuid4

import pytest
from azure.storage.blob import ContainerClient

from model_loader.package import encode, verify_package
from model_loader.registry.copy import copy
from model_loader.registry.ledger import Entry, append, now, read_ledger
from model_loader.registry.publish import publish
from model_loader.registry.stages import promote
from model_loader.registry.versions import find, version_numbers
from model_loader.store import Store, open_store
from tests.model_loader.command_line import Loader
from tests.model_loader.drafts import write_draft, write_external
from tests.model_loader.store.test_blob_store import sas

MIB = 1024 * 1024


@pytest.fixture(params=["file", "blob"])
def source(request: pytest.FixtureRequest) -> Store:
    """An empty store of each kind, to copy from."""
    return make_store(request, "source")


@pytest.fixture(params=["file", "blob"])
def target(request: pytest.FixtureRequest) -> Store:
    """An empty store of each kind, to copy to."""
    return make_store(request, "target")


def make_store(request: pytest.FixtureRequest, name: str) -> Store:
    """Return a new store of the kind that is the fixture's parameter."""
    if request.param == "file":
        return open_store(f"file:{name}")
    container: ContainerClient = request.getfixturevalue("container")
    return open_store(f"{container.url}/{name}-{uuid4().hex}")


def contents(store: Store, name: str = "tiny") -> dict[str, bytes]:
    """Return the objects of a model, without the ledger and the claims."""
    paths = [path for path in store.names(f"{name}/") if path.split("/")[1].isdigit()]
    return {path: b"".join(store.chunks(path)) for path in paths}


def test_copies_all(draft: Path, source: Store, target: Store, loader: Loader) -> None:
    """Every version is copied as it is, with its number and its signature; a second copy changes nothing."""
    publish(draft, source, reason="first")
    publish(write_external(Path("large"), columns=3 * 1024), source)
    source.upload("tiny/2/model.sig", io.BytesIO(b"signature"))
    promote(source, "tiny", "1", "production")
    digest = find(source, "tiny", "1").digest
    append(source, "tiny", lambda _: Entry(now(), "retrain", 1, digest, "tester", reason="cadence"))
    copying = ("copy", "--from", source.url, "--to", target.url, "--version", "all")

    result = loader(*copying)

    assert (result.code, result.err) == (0, "")
    versions = [find(source, "tiny", number) for number in ("1", "2")]
    assert result.out == "".join(f"copied {version} to {target.url}\n" for version in versions)
    assert contents(target) == contents(source)
    assert "tiny/2/model.sig" in contents(target)
    ledger = read_ledger(target, "tiny")
    assert [(e.action, e.version, e.digest, e.by, e.reason) for e in ledger.entries] == [
        ("publish", version.manifest.version, version.digest, "tester", f"copied from {source.url}")
        for version in versions
    ]
    before = contents(target), ledger
    assert loader(*copying).out == "".join(f"{target.url} has {version} already\n" for version in versions)
    assert (contents(target), read_ledger(target, "tiny")) == before
    assert loader("pull", "--store", target.url).code == 0
    assert verify_package(Path("model")).digest == versions[1].digest


def test_selects(draft: Path, source: Store, target: Store, loader: Loader) -> None:
    """The latest version is the default; a number or a stage of the source selects another one."""
    for _ in range(3):
        publish(draft, source)
    promote(source, "tiny", "2", "production")
    copying = ("copy", "--from", source.url, "--to", target.url)
    (copied,) = json.loads(loader(*copying, "--json").out)
    assert (copied["name"], copied["version"], copied["changed"]) == ("tiny", 3, True)
    assert loader(*copying, "--version", "production", "--name", "tiny").code == 0
    assert version_numbers(target, "tiny") == [2, 3]
    assert publish(draft, target).manifest.version == 4


def test_other_version_in_the_target(draft: Path, source: Store, target: Store, loader: Loader) -> None:
    """A number that the target has for another package is refused, and nothing is written."""
    publish(draft, source)
    publish(write_draft(Path("other"), metrics={"accuracy": 0.1}), target)
    before = contents(target), read_ledger(target, "tiny")
    result = loader("copy", "--from", source.url, "--to", target.url)
    assert result.code == 1
    assert f"into the store {target.url}: it has another package with this number; copy into" in result.err
    assert (contents(target), read_ledger(target, "tiny")) == before


def test_claimed_by_a_publisher(draft: Path, source: Store, target: Store, loader: Loader) -> None:
    """A number that somebody is publishing in the target is refused."""
    publish(draft, source)
    target.write("tiny/claims/1.json", encode({"by": "somebody"}), None)
    result = loader("copy", "--from", source.url, "--to", target.url)
    assert result.code == 1
    assert "it has a claim on this number by another publisher" in result.err
    assert not contents(target)


class Interrupted:
    """A store that cannot be reached from an operation with a given number on."""

    def __init__(self, store: Store, operations: int) -> None:
        self._store, self._remaining = store, operations

    def __getattr__(self, name: str) -> object:
        if name in ("read", "write", "upload", "names", "chunks"):
            self._remaining -= 1
            if self._remaining < 0:
                raise ConnectionResetError
        return getattr(self._store, name)


def test_resumes(workspace: Path, source: Store, target: Store) -> None:
    """After an interruption at any operation, the next copy completes the version."""
    published = publish(write_external(workspace / "external"), source)
    for operations in range(20):
        interrupted = Interrupted(target, operations)
        try:
            copy(source, interrupted, published)  # type: ignore[arg-type]
        except ConnectionResetError:
            manifest = target.read("tiny/1/manifest.json")
            assert not manifest or contents(target) == contents(source)
        else:
            break
    assert operations > 5
    assert contents(target) == contents(source)
    assert [entry.action for entry in read_ledger(target, "tiny").entries] == ["publish"]


def test_copied_files_are_kept(workspace: Path, source: Store, target: Store) -> None:
    """A file that an interrupted copy has copied is not uploaded again; a damaged one is."""
    published = publish(write_external(workspace / "draft"), source)
    target.upload("tiny/1/weights.bin", io.BytesIO(b"damaged"))
    target.upload("tiny/1/model.onnx", io.BytesIO(b"".join(source.chunks("tiny/1/model.onnx"))))
    uploaded = set()
    copy(source, target, published, lambda path, *_: uploaded.add(path))
    assert uploaded == {"weights.bin"}
    assert contents(target) == contents(source)


@pytest.mark.parametrize("content", [b"", b"another", bytes(20 * MIB)])
def test_damaged_source(
    workspace: Path, source: Store, target: Store, loader: Loader, content: bytes
) -> None:
    """A file that is not what was published is not copied, and the version is not published."""
    publish(write_external(workspace / "draft"), source)
    source.upload("tiny/1/weights.bin", io.BytesIO(content))
    result = loader("copy", "--from", source.url, "--to", target.url)
    assert result.code == 1
    assert "weights.bin is not what was published: expected sha256 " in result.err
    assert "tiny/1/weights.bin" not in target.names("")
    assert "tiny/1/manifest.json" not in target.names("")


def test_credentials(draft: Path, container: ContainerClient, loader: Loader) -> None:
    """A SAS in either URL is used, and neither printed nor recorded."""
    token = sas(container)
    publish(draft, open_store(container.url))
    result = loader("copy", "--from", f"{container.url}?{token}", "--to", f"{container.url}/copies?{token}")
    assert result.code == 0
    target = open_store(f"{container.url}/copies")
    (entry,) = read_ledger(target, "tiny").entries
    assert entry.reason == f"copied from {container.url}"
    claim, _ = target.read("tiny/claims/1.json") or (b"", "")
    assert "sig=" not in result.out + result.err + claim.decode()
