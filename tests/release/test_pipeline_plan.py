"""Which pipeline runs build something, and which model."""

from pathlib import Path

import pytest

from model_loader.errors import LoaderError
from model_loader.registry.lockfile import Lock
from model_loader.registry.stages import promote, withdraw
from model_loader.registry.versions import find
from model_loader.store import Store, open_store
from release.pipeline_plan import plan
from release.record_release import lock_text
from tests.model_loader.drafts import publish, write_draft


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return a store with tiny/1 and tiny/2."""
    monkeypatch.delenv("MODEL_NAME", raising=False)
    monkeypatch.setenv("MODEL_PUBLISHER", "tester")
    store = open_store(f"file:{tmp_path}/store")
    for _ in range(2):
        publish(write_draft(tmp_path / "draft"), store)
    return store


def write_lock(path: Path, store: Store, version: str, url: str = "") -> Path:
    """Write a lock of a version of tiny and return its path."""
    release = find(store, "tiny", version)
    lock = Lock("tiny", int(version), release.digest, url or store.url)
    (path / "model.lock").write_text(lock_text(lock))
    return path / "model.lock"


@pytest.mark.parametrize("stage", ["build", "staging"])
@pytest.mark.parametrize(
    ("version", "staged", "reason", "run", "model"),
    [
        ("1", None, "IndividualCI", True, "--version 2"),
        ("1", None, "ResourceTrigger", True, "--version 2"),
        ("1", None, "Schedule", True, "--version 2"),
        ("2", None, "IndividualCI", True, "--locked"),
        ("2", None, "PullRequest", True, "--locked"),
        ("2", None, "ResourceTrigger", False, "--locked"),
        ("2", None, "Schedule", False, "--locked"),
        ("1", "2", "IndividualCI", True, "--locked"),
        ("1", "2", "Schedule", False, "--locked"),
        ("1", "1", "Schedule", True, "--version 2"),
        ("2", None, "push", True, "--locked"),
        ("2", None, "workflow_dispatch", True, "--locked"),
        ("2", None, "repository_dispatch", False, "--locked"),
        ("2", None, "schedule", False, "--locked"),
    ],
)
def test_plan(
    store: Store,
    tmp_path: Path,
    version: str,
    staged: str | None,
    reason: str,
    run: bool,
    model: str,
    stage: str,
) -> None:
    """Any run builds a new model; only a commit builds an old one. A model that was taken up is not new."""
    if staged:
        promote(store, "tiny", staged, stage)
    assert plan(store.url, write_lock(tmp_path, store, version), reason)[:2] == (run, model)


def test_staged_and_replaced(store: Store, tmp_path: Path) -> None:
    """A model that was staged and then replaced, for example by a revert, is not new."""
    promote(store, "tiny", "2", "staging")
    promote(store, "tiny", "1", "staging")
    assert plan(store.url, write_lock(tmp_path, store, "1"), "Schedule")[:2] == (False, "--locked")


def test_withdrawn(store: Store, tmp_path: Path) -> None:
    """A withdrawn version is neither new nor built from the lock; the message says what to do."""
    lock = write_lock(tmp_path, store, "2")
    withdraw(store, "tiny", "2", "leaks")
    assert plan(store.url, lock, "IndividualCI")[:2] == (True, "--version 1")
    promote(store, "tiny", "1", "staging")
    assert plan(store.url, lock, "Schedule")[:2] == (False, "--locked")
    with pytest.raises(
        LoaderError, match=r"tiny/2 in .*model.lock cannot be built: it was withdrawn .*: leaks"
    ):
        plan(store.url, lock, "IndividualCI")
    write_lock(tmp_path, store, "1")
    assert plan(store.url, lock, "IndividualCI")[:2] == (True, "--locked")


def test_lock_of_another_store(store: Store, tmp_path: Path) -> None:
    """If the lock names another store, as in a fresh clone, the pipeline's store is used."""
    lock = write_lock(tmp_path, store, "2", url="file:model_store")
    assert plan(store.url, lock, "IndividualCI")[:2] == (True, "--version 2")


def test_nothing_published(tmp_path: Path, store: Store) -> None:
    """A store without a model is an error."""
    with pytest.raises(LoaderError):
        plan(f"file:{tmp_path}/empty", write_lock(tmp_path, store, "1"), "Schedule")
