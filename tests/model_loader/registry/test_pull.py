"""Pulling: the files, the lock, what is downloaded again, and what is not replaced."""

import multiprocessing
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_loader.errors import PackageError
from model_loader.package import MANIFEST_FILE, verify_package
from model_loader.registry.lockfile import Lock, read_lock
from model_loader.registry.pull import pull
from model_loader.registry.versions import PublishedVersion, find
from model_loader.store import Store, atomic
from tests.model_loader import processes
from tests.model_loader.command_line import Snapshot, snapshot
from tests.model_loader.drafts import publish, write_draft, write_external

MODEL = Path("model")
LOCK = Path("model.lock")


class TransferredFiles:
    """A progress function that records the paths of the transferred files."""

    def __init__(self) -> None:
        self.paths: set[str] = set()

    def __call__(self, path: str, done: int, total: int) -> None:
        assert 0 < done <= total
        self.paths.add(path)


def test_pulls(published: PublishedVersion, store: Store) -> None:
    """`model/` is what was published, the lock names it, and there are no other files."""
    assert pull(store, published, MODEL, lock=LOCK)
    assert verify_package(MODEL).digest == published.digest
    assert read_lock(LOCK) == Lock("tiny", 1, published.digest, store.url)
    assert sorted(path.name for path in MODEL.iterdir()) == ["manifest.json", "model.onnx", "samples.json"]
    assert {path.name for path in Path().iterdir()} <= {"draft", "store", "model", "model.lock"}


def test_lock_is_stable(pulled: Snapshot, published: PublishedVersion, store: Store) -> None:
    """The lock is JSON with one field per line, so that a diff is readable."""
    assert pulled["model.lock"].decode() == (
        "{\n"
        '  "name": "tiny",\n'
        '  "version": 1,\n'
        f'  "digest": "{published.digest}",\n'
        f'  "store": "{store.url}"\n'
        "}\n"
    )


def test_up_to_date(pulled: Snapshot, published: PublishedVersion, store: Store) -> None:
    """A complete package is not downloaded again, and the lock is not touched."""
    before = LOCK.stat()
    transferred = TransferredFiles()
    assert not pull(store, published, MODEL, lock=LOCK, progress=transferred)
    assert not transferred.paths
    assert LOCK.stat() == before


def test_missing_lock_is_written(pulled: Snapshot, published: PublishedVersion, store: Store) -> None:
    """A missing lock is written, even if the model is up to date."""
    LOCK.unlink()
    assert not pull(store, published, MODEL, lock=LOCK)
    assert snapshot(Path()) == pulled


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing", "more"])
def test_repairs(pulled: Snapshot, published: PublishedVersion, store: Store, damage: str) -> None:
    """A `model/` that was changed is replaced."""
    model = MODEL / "model.onnx"
    match damage:
        case "changed":
            model.write_bytes(b"x" * model.stat().st_size)
        case "truncated":
            os.truncate(model, 10)
        case "missing":
            model.unlink()
        case "more":
            (MODEL / "extra.bin").touch()
    assert pull(store, published, MODEL)
    assert snapshot(Path()) == pulled


def test_replaces_another_version(pulled: Snapshot, draft: Path, store: Store) -> None:
    """No file of the previous version is left."""
    write_draft(draft, assets=["labels.txt"])
    (draft / "labels.txt").write_text("yes\nno\n")
    pull(store, publish(draft, store), MODEL, lock=LOCK)
    assert (MODEL / "labels.txt").is_file()
    pull(store, find(store, "tiny", "1"), MODEL, lock=LOCK)
    assert snapshot(Path()) == pulled


def test_without_exchange(
    pulled: Snapshot, draft: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the system cannot swap directories atomically, they are renamed in two steps."""
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    published = publish(draft, store)
    assert pull(store, published, MODEL)
    assert verify_package(MODEL).digest == published.digest
    assert {path.name for path in Path().iterdir()} <= {"draft", "store", "model", "model.lock"}


def test_model_is_always_there(pulled: Snapshot, draft: Path, store: Store) -> None:
    """While versions are pulled, `model/` exists at any time."""
    alternating = [publish(draft, store), find(store, "tiny", "1")] * 10
    missing = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if not (MODEL / "model.onnx").exists():
                missing.append(True)

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            for published in alternating:
                pull(store, published, MODEL)
        finally:
            done.set()
        watching.result()
    assert not missing


def test_concurrent_pulls(draft: Path, store: Store) -> None:
    """Concurrent pulls into a directory run one after the other; the lock names the package in it."""
    several = [publish(draft, store) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(pull, store, published, MODEL, lock=LOCK) for published in several * 4]:
            future.result()
    assert verify_package(MODEL).digest == read_lock(LOCK).digest


def test_resumes(workspace: Path, store: Store, store_url: str) -> None:
    """After a pull was killed, its complete files are used, and the incomplete one is continued."""
    published = publish(write_external(workspace / "draft", columns=8 * 1024), store)
    process = multiprocessing.get_context("spawn").Process(
        target=processes.pull_and_die_within, args=(store_url, "weights.bin")
    )
    process.start()
    process.join(60)
    assert process.exitcode == -9
    assert not MODEL.exists()
    (partial,) = Path(".model.pull").glob(".*.partial")
    before = partial.stat().st_size
    assert before > 0
    transferred: list[tuple[str, int]] = []
    assert pull(store, published, MODEL, progress=lambda path, done, _: transferred.append((path, done)))
    assert {path for path, _ in transferred} == {"weights.bin"}
    assert min(done for _, done in transferred) > before
    assert verify_package(MODEL).digest == published.digest


def test_foreign_files_in_staging(published: PublishedVersion, store: Store, workspace: Path) -> None:
    """Files in the staging directory are used only if they are complete files of this version."""
    (workspace / "precious.txt").write_text("precious")
    (workspace / "precious").mkdir()
    (workspace / "precious/model.onnx").write_text("precious")
    staging = workspace / ".model.pull"
    (staging / "model.onnx" / "is a directory").mkdir(parents=True)
    (staging / "samples.json").symlink_to(workspace / "precious.txt")
    (staging / "link").symlink_to(workspace / "precious")
    (staging / "extra.bin").touch()
    pull(store, published, MODEL)
    assert verify_package(MODEL).digest == published.digest
    shutil.rmtree(MODEL)
    staging.symlink_to(workspace / "precious")
    pull(store, published, MODEL)
    assert (workspace / "precious.txt").read_text() == "precious"
    assert (workspace / "precious/model.onnx").read_text() == "precious"


@pytest.mark.parametrize("content", ["file", "directory", "manifest"])
def test_other_files_are_not_replaced(published: PublishedVersion, store: Store, content: str) -> None:
    """A file or a directory that is not a package is not overwritten, whatever --output is."""
    match content:
        case "file":
            MODEL.write_text("precious")
        case "directory":
            MODEL.mkdir()
            (MODEL / "precious.txt").touch()
        case "manifest":
            MODEL.mkdir()
            (MODEL / MANIFEST_FILE).write_text('{"manifest_version": 3}')
    with pytest.raises(
        PackageError, match="model is not a model package and would be overwritten: move it away"
    ):
        pull(store, published, MODEL, lock=LOCK)
    assert MODEL.exists()
    assert not LOCK.exists()


def test_output_elsewhere(published: PublishedVersion, store: Store, workspace: Path) -> None:
    """Parent directories are created, an empty directory is used, and a link to a directory is followed."""
    assert pull(store, published, Path("build/models/tiny"))
    Path("empty").mkdir()
    assert pull(store, published, Path("empty"))
    Path("link").symlink_to("empty")
    assert not pull(store, published, Path("link"))
    assert Path("link").is_symlink()


def test_lock_that_cannot_be_written(pulled: Snapshot, draft: Path, store: Store) -> None:
    """If the lock cannot be written, the model is not replaced."""
    with pytest.raises(FileNotFoundError):
        pull(store, publish(draft, store), MODEL, lock=Path("missing/model.lock"))
    assert snapshot(Path()) == pulled


def test_file_replaces_directory(workspace: Path, store: Store) -> None:
    """A package can have a subdirectory, and the next version a file with the same name."""
    pull(store, publish(write_external(workspace / "one", "weights/part.bin"), store), MODEL)
    assert (MODEL / "weights/part.bin").is_file()
    pull(store, publish(write_external(workspace / "two", "weights"), store), MODEL)
    assert (MODEL / "weights").is_file()
