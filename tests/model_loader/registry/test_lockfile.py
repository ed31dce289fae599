"""`pull --locked` and the lock that it reads."""

import json
from pathlib import Path

import pytest

from model_loader.package import verify_package
from model_loader.registry.lockfile import Lock, read_lock, write_lock_on_success
from model_loader.store import Store
from tests.model_loader.command_line import Loader, Snapshot, snapshot
from tests.model_loader.drafts import publish

LOCK = Path("model.lock")


def test_locked(pulled: Snapshot, draft: Path, store: Store, loader: Loader) -> None:
    """The locked version is pulled, whatever was published or promoted since."""
    publish(draft, store)
    assert loader("pull", "--output", "other").code == 0
    assert verify_package(Path("other")).manifest.version == 2
    LOCK.write_bytes(pulled["model.lock"])
    assert loader("pull", "--locked", "--output", "other").code == 0
    assert verify_package(Path("other")).manifest.version == 1
    assert snapshot(Path()) == pulled


def test_store_of_the_lock(pulled: Snapshot, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store in the lock is used, not MODEL_STORE, unless --store is given."""
    monkeypatch.setenv("MODEL_STORE", "file:elsewhere")
    assert loader("pull", "--locked", "--output", "other").code == 0
    result = loader("pull", "--locked", "--store", "file:elsewhere")
    assert result.code == 1
    assert "tiny/1 is not published in the store file:elsewhere; versions: none" in result.err


def test_another_digest(pulled: Snapshot, store: Store, loader: Loader) -> None:
    """A version whose digest is not the locked one is refused."""
    lock = json.loads(LOCK.read_text()) | {"digest": "sha256:" + "0" * 64}
    LOCK.write_text(json.dumps(lock))
    before = snapshot(Path())
    result = loader("pull", "--locked")
    assert result.code == 1
    assert f"the lock names tiny/1@{lock['digest']}, the store {store.url} has tiny/1@sha256:" in result.err
    assert snapshot(Path()) == before


def test_another_model(pulled: Snapshot, loader: Loader) -> None:
    """--name can only name the locked model."""
    assert loader("pull", "--locked", "--name", "tiny").code == 0
    result = loader("pull", "--locked", "--name", "other")
    assert (result.code, result.err) == (1, "model_loader: model.lock is for the model tiny, not other\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no lock at model.lock: No such file or directory; run pull without --locked to write one"),
        ("{", "model.lock is not JSON"),
        ("{}", "model.lock: expected name, version, digest and store"),
        ('{"name": "tiny", "version": "1", "digest": "", "store": ""}', "model.lock: expected name, version"),
    ],
)
def test_bad_lock(loader: Loader, content: str | None, message: str) -> None:
    """A lock that is missing or invalid is refused."""
    if content is not None:
        LOCK.write_text(content)
    result = loader("pull", "--locked")
    assert result.code == 1
    assert message in result.err


def test_written_before_the_block(workspace: Path) -> None:
    """The new lock is written before the block runs, which may fill the disk."""
    with write_lock_on_success(workspace / "model.lock", Lock("tiny", 1, "sha256:0", "file:store")):
        (temporary,) = workspace.glob(".model.lock.*")
        assert read_lock(temporary) == Lock("tiny", 1, "sha256:0", "file:store")
        assert not (workspace / "model.lock").exists()
