"""Publishing and pulling while connections break, the store is busy, or the disk is full."""

import io
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Literal

import pytest
from azure.storage.blob import ContainerClient

from model_loader.errors import PackageError, StoreError
from model_loader.package import verify_package
from model_loader.registry.publish import publish
from model_loader.registry.pull import pull
from model_loader.registry.versions import PublishedVersion, find
from model_loader.store import Store, open_store
from model_loader.store.transfer import ChunkReader
from tests.model_loader.command_line import ROOT
from tests.model_loader.drafts import write_external
from tests.model_loader.faulty_proxy import Faults, faulty_proxy

MIB = 1024 * 1024
MODEL = Path("model")


@pytest.fixture
def faults() -> Faults:
    """The faults of the proxy: none yet."""
    return Faults()


@pytest.fixture
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without delays."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def proxied(container: ContainerClient, faults: Faults) -> Iterator[Store]:
    """A store in the container behind the proxy."""
    with faulty_proxy(container.url, faults) as url:
        yield open_store(url)


@pytest.fixture
def large(container: ContainerClient, workspace: Path) -> PublishedVersion:
    """A version with 40 MiB of weights in the container."""
    return publish(write_external(workspace / "draft", columns=10 * 1024), open_store(container.url))


def test_download_is_cut(large: PublishedVersion, proxied: Store, faults: Faults) -> None:
    """Ten broken connections in mid-download: the package is whole, and only parts were repeated."""
    faults.cut_downloads = 10
    assert pull(proxied, large, MODEL)
    assert verify_package(MODEL).digest == large.digest
    assert faults.cut_downloads < 0
    assert faults.sent_bytes < 40 * MIB + 10 * 4 * MIB


def test_every_connection_is_cut(workspace: Path, proxied: Store, faults: Faults) -> None:
    """If every connection breaks after 100 kB, smaller parts are requested."""
    published = publish(write_external(workspace / "draft", columns=256), proxied)
    faults.cut_downloads, faults.cut_bytes = 10_000, 100_000
    assert pull(proxied, published, MODEL)
    assert verify_package(MODEL).digest == published.digest


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", [None, "0", "1"])
def test_busy(
    large: PublishedVersion, proxied: Store, faults: Faults, status: int, retry_after: str | None
) -> None:
    """A store that is busy for a while: the package is whole."""
    faults.answers, faults.retry_after = [status] * 2, retry_after
    assert pull(proxied, large, MODEL)
    assert verify_package(MODEL).digest == large.digest
    assert faults.answered == 2


def test_retry_after(
    large: PublishedVersion, proxied: Store, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next request is sent as late as the store asks for."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    faults.answers, faults.retry_after = [503, 429], "17"
    find(proxied, "tiny", "1")
    assert slept == [17, 17]


@pytest.mark.parametrize("status", [429, 503])
def test_busy_for_too_long(proxied: Store, faults: Faults, status: int) -> None:
    """If the store asks for more than a minute, that is an error at once."""
    faults.answers, faults.retry_after = [status], "3600"
    with pytest.raises(StoreError, match=r"is busy \(ServerBusy\): try again later"):
        proxied.names("")
    assert faults.answered == 1


def test_publish(
    workspace: Path, container: ContainerClient, proxied: Store, faults: Faults, no_delays: None
) -> None:
    """Broken connections and a busy store while a version is published: it is whole, and in the ledger."""
    faults.uploads, faults.answers = (
        cycle(("before", "forward", "after", "forward", "forward")),
        [429, 503, 429],
    )
    published = publish(write_external(workspace / "draft", columns=10 * 1024), proxied)
    store = open_store(container.url)
    assert find(store, "tiny", "latest") == published
    assert pull(store, published, MODEL)


@pytest.mark.parametrize("size", [10, 20 * MIB])
@pytest.mark.parametrize("fault", [429, "before", "after"])
def test_upload_is_repeated(
    proxied: Store, faults: Faults, no_delays: None, size: int, fault: Literal[429, "before", "after"]
) -> None:
    """A request that is sent again has the same body, although the source is read once."""
    content = os.urandom(size)
    if fault == 429:
        faults.answers = [fault]
    else:
        faults.uploads = chain([fault], repeat("forward"))
    proxied.upload("m/1/x", io.BufferedReader(ChunkReader(iter([content[:7], content[7:]]))))
    assert b"".join(proxied.chunks("m/1/x")) == content


@pytest.mark.parametrize("written", range(4))
def test_publish_fails(
    workspace: Path, container: ContainerClient, proxied: Store, faults: Faults, no_delays: None, written: int
) -> None:
    """If the store can no longer be reached after some requests, nothing is published."""
    faults.uploads = chain(repeat("forward", written), repeat("before"))
    with pytest.raises(StoreError, match="cannot reach the store"):
        publish(write_external(workspace / "draft"), proxied)
    assert "manifest.json" not in str(open_store(container.url).names(""))


def test_damaged_part(workspace: Path, store: Store) -> None:
    """A part of a file that is not what was published is downloaded again."""
    published = publish(write_external(workspace / "draft", columns=1024), store)
    entry = published.manifest.files["weights.bin"]
    (workspace / ".model.pull").mkdir()
    (workspace / f".model.pull/.{entry.sha256}.partial").write_bytes(b"damaged" * 1000)
    assert pull(store, published, MODEL)
    assert verify_package(MODEL).digest == published.digest
    assert not (workspace / ".model.pull").exists()


def test_part_of_another_version(workspace: Path, store: Store) -> None:
    """A part of another version's file is removed."""
    published = publish(write_external(workspace / "draft"), store)
    (workspace / ".model.pull").mkdir()
    (workspace / f".model.pull/.{'0' * 64}.partial").write_bytes(b"other")
    assert pull(store, published, MODEL)
    assert sorted(path.name for path in MODEL.iterdir()) == ["manifest.json", "model.onnx", "weights.bin"]


def test_larger_than_published(workspace: Path, store: Store) -> None:
    """A file that is larger than its manifest says is not written beyond that size."""
    published = publish(write_external(workspace / "draft"), store)
    with (workspace / "endless").open("w+b") as file:
        file.truncate(20 * MIB)
        store.upload("tiny/1/weights.bin", file)
    size = published.manifest.files["weights.bin"].bytes
    with pytest.raises(PackageError, match=rf"weights.bin .*: expected {size} bytes, the store has more"):
        pull(store, published, MODEL)
    assert not MODEL.exists()
    written = sum(file.stat().st_size for file in (workspace / ".model.pull").iterdir())
    assert written <= sum(entry.bytes for entry in published.manifest.files.values())


def test_disk_is_full(workspace: Path, store_url: str) -> None:
    """A file that cannot be written: the message says how much was written, and the next pull continues."""
    published = publish(write_external(workspace / "draft", columns=1024), open_store(store_url))
    limit = 3 * MIB + 5
    result = subprocess.run(
        [sys.executable, "-m", "model_loader", "pull"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        # As on a full disk, the last block is written in part.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line == (
        f"model_loader: weights.bin: File too large after {limit:,} of {4 * MIB:,} bytes: free space and run "
        "the command again, which continues from there"
    )
    done: list[int] = []
    assert pull(open_store(store_url), published, MODEL, progress=lambda path, count, _: done.append(count))
    assert done == [4 * MIB]
    assert verify_package(MODEL).digest == published.digest
