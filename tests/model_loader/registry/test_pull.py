"""Pulling: what is put in place, what is not downloaded again, and what is refused."""

import json
import multiprocessing
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from model_loader.errors import PackageError
from model_loader.package import MANIFEST_FILE, encode, hash_file, verify_package
from model_loader.registry.lockfile import Lock, read_lock
from model_loader.registry.publish import publish
from model_loader.registry.pull import pull
from model_loader.registry.versions import PublishedVersion, find
from model_loader.store import Store, atomic
from tests.model_loader import processes
from tests.model_loader.command_line import Loader, Snapshot, snapshot
from tests.model_loader.drafts import write_external

MODEL = Path("model")
LOCK = Path("model.lock")


class Moved:
    """Remembers the files of which something was transferred."""

    def __init__(self) -> None:
        self.paths: set[str] = set()

    def __call__(self, path: str, done: int, total: int) -> None:
        assert 0 < done <= total
        self.paths.add(path)


def test_pulls(published: PublishedVersion, store: Store) -> None:
    """`model/` is what was published, byte by byte, the lock says so, and nothing else is left."""
    assert pull(store, published, MODEL, lock=LOCK)
    assert verify_package(MODEL).digest == published.digest
    assert read_lock(LOCK) == Lock("tiny", 1, published.digest, store.url)
    assert sorted(path.name for path in MODEL.iterdir()) == ["manifest.json", "model.onnx", "samples.json"]
    assert {path.name for path in Path().iterdir()} <= {"draft", "store", "model", "model.lock"}


def test_lock_is_stable(pulled: Snapshot, published: PublishedVersion, store: Store) -> None:
    """The lock is lines of JSON, as a diff likes them."""
    assert pulled["model.lock"].decode() == (
        "{\n"
        '  "name": "tiny",\n'
        '  "version": 1,\n'
        f'  "digest": "{published.digest}",\n'
        f'  "store": "{store.url}"\n'
        "}\n"
    )


def test_up_to_date(pulled: Snapshot, published: PublishedVersion, store: Store) -> None:
    """What is there and whole is not downloaded again, and the lock is not touched."""
    before = LOCK.stat()
    moved = Moved()
    assert not pull(store, published, MODEL, lock=LOCK, progress=moved)
    assert not moved.paths
    assert LOCK.stat() == before


def test_missing_lock_is_written(pulled: Snapshot, published: PublishedVersion, store: Store) -> None:
    """A lock that is gone or says something else is written, even where the model is up to date."""
    LOCK.unlink()
    assert not pull(store, published, MODEL, lock=LOCK)
    assert snapshot(Path()) == pulled


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing", "more"])
def test_repairs(pulled: Snapshot, published: PublishedVersion, store: Store, damage: str) -> None:
    """A `model/` that is not what was published any more is made so again."""
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
    """Nothing of the old version stays."""
    (draft / "labels.txt").write_text("yes\nno\n")
    pull(store, publish(draft, store), MODEL, lock=LOCK)
    assert (MODEL / "labels.txt").is_file()
    pull(store, find(store, "tiny", "1"), MODEL, lock=LOCK)
    assert snapshot(Path()) == pulled


def test_without_exchange(
    pulled: Snapshot, draft: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system cannot swap directories in one step, two do."""
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    published = publish(draft, store)
    assert pull(store, published, MODEL)
    assert verify_package(MODEL).digest == published.digest
    assert {path.name for path in Path().iterdir()} <= {"draft", "store", "model", "model.lock"}


def test_model_is_always_there(pulled: Snapshot, draft: Path, store: Store) -> None:
    """Whoever looks while versions are pulled sees one of them, always."""
    versions_ = [publish(draft, store), find(store, "tiny", "1")] * 10
    missing = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            if not (MODEL / "model.onnx").exists():
                missing.append(True)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            for published in versions_:
                pull(store, published, MODEL)
        finally:
            done.set()
        looking.result()
    assert not missing


def test_two_pulls_at_once(draft: Path, store: Store) -> None:
    """Of many who pull into one place, each does its whole work; the lock is that of the last."""
    versions_ = [publish(draft, store) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(pull, store, published, MODEL, lock=LOCK) for published in versions_ * 4]:
            future.result()
    assert verify_package(MODEL).digest == read_lock(LOCK).digest


def test_resumes(workspace: Path, store: Store, store_url: str) -> None:
    """What a pull that was killed has downloaded whole is used, what it has in part is not."""
    published = publish(write_external(workspace / "draft", columns=8 * 1024), store)
    process = multiprocessing.get_context("spawn").Process(
        target=processes.pull_and_die_within, args=(store_url, "weights.bin")
    )
    process.start()
    process.join(60)
    assert process.exitcode == -9
    assert not MODEL.exists()
    moved = Moved()
    assert pull(store, published, MODEL, progress=moved)
    assert moved.paths == {"weights.bin"}
    assert verify_package(MODEL).digest == published.digest


def test_nothing_is_resumed_from_elsewhere(
    published: PublishedVersion, store: Store, workspace: Path
) -> None:
    """What lies about in the staging directory is used only if it is a whole file of this published."""
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
def test_what_is_no_package_is_not_replaced(published: PublishedVersion, store: Store, content: str) -> None:
    """A directory or a file that holds something else is not lost by a wrong --output."""
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
    """Directories on the way are made, an empty one is filled, and a link to one is followed."""
    assert pull(store, published, Path("build/models/tiny"))
    Path("empty").mkdir()
    assert pull(store, published, Path("empty"))
    Path("link").symlink_to("empty")
    assert not pull(store, published, Path("link"))
    assert Path("link").is_symlink()


def test_lock_that_cannot_be_written(pulled: Snapshot, draft: Path, store: Store) -> None:
    """Without its lock a model is not replaced either."""
    with pytest.raises(FileNotFoundError):
        pull(store, publish(draft, store), MODEL, lock=Path("missing/model.lock"))
    assert snapshot(Path()) == pulled


def replace(store: Store, name: str, content: bytes) -> None:
    """Overwrites an object, as only somebody with the store's keys and no loader can."""
    _, etag = store.read(name) or (b"", None)
    store.write(name, content, etag)


def truncated_file(store: Store) -> None:
    """A file that lost its end."""
    content, _ = store.read("tiny/2/model.onnx") or (b"", None)
    replace(store, "tiny/2/model.onnx", content[:-1])


def changed_file(store: Store) -> None:
    """A file of the same size with another content."""
    content, _ = store.read("tiny/2/model.onnx") or (b"", None)
    replace(store, "tiny/2/model.onnx", content[:-1] + b"\0")


def lying_manifest(store: Store) -> None:
    """A manifest that was published with a hash that is not the file's."""
    manifest(store, files={"model.onnx": {"sha256": "0" * 64, "bytes": 1}})


def rewritten_manifest(store: Store) -> None:
    """A manifest that was changed after it was published, and tells the truth about the files."""
    content, _ = store.read("tiny/2/manifest.json") or (b"", None)
    replace(store, "tiny/2/manifest.json", content + b"\n")


def missing_file(store: Store) -> None:
    """A manifest that names a file which nobody uploaded."""
    manifest(store, files={"model.onnx": entry(store), "weights.bin": {"sha256": "0" * 64, "bytes": 1}})


def another_version(store: Store) -> None:
    """The manifest of another version, copied."""
    manifest(store, version=1)


def manifest(store: Store, **changes: Any) -> None:
    """Makes tiny/3, whose manifest has something else in it, and which the ledger does not know."""
    content, _ = store.read("tiny/2/manifest.json") or (b"", None)
    model, _ = store.read("tiny/2/model.onnx") or (b"", None)
    store.write("tiny/3/model.onnx", model, None)
    document = json.loads(content) | {"version": 3, "files": {"model.onnx": entry(store)}} | changes
    store.write("tiny/3/manifest.json", encode(document), None)


def entry(store: Store) -> dict[str, Any]:
    """What a manifest says of the model file."""
    model, _ = store.read("tiny/2/model.onnx") or (b"", None)
    Path("copy.onnx").write_bytes(model)
    return dict(vars(hash_file(Path("copy.onnx"))))


def corrupt_ledger(store: Store) -> None:
    """A ledger with a line that is not one."""
    content, _ = store.read("tiny/ledger.jsonl") or (b"", None)
    replace(store, "tiny/ledger.jsonl", content + b"{}\n")


@pytest.mark.parametrize(
    ("sabotage", "message"),
    [
        (truncated_file, r"tiny/2@sha256:\w{64}: model.onnx is not what was published: expected sha256 "),
        (changed_file, r"tiny/2@sha256:\w{64}: model.onnx is not what was published: expected sha256 "),
        (lying_manifest, r"tiny/3@sha256:\w{64}: model.onnx is not what was published: expected sha256 0000"),
        (rewritten_manifest, r"tiny/2@sha256:\w{64} in the store .* is not what was published: sha256:"),
        (missing_file, r"tiny/3/weights.bin is not in the store"),
        (another_version, r"tiny/3 in the store .* has the manifest of tiny/1"),
        (corrupt_ledger, r"tiny/ledger.jsonl: line 3 is not an entry: b'{}'"),
    ],
)
def test_broken_store(
    pulled: Snapshot, draft: Path, store: Store, loader: Loader, sabotage: Any, message: str
) -> None:
    """What cannot be proven is one line on stderr, exit 1, and `model/` and the lock as they were."""
    publish(draft, store)
    sabotage(store)
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
def test_paths_that_escape(pulled: Snapshot, draft: Path, store: Store, loader: Loader, path: str) -> None:
    """A manifest with a path out of the package is refused before a file is fetched."""
    publish(draft, store)
    manifest(store, files={"model.onnx": entry(store), path: entry(store)})
    before = sorted(Path().rglob("*"))
    result = loader("pull")
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert "is outside of the package directory or cannot be stored" in line
    assert snapshot(Path()) == pulled
    assert sorted(Path().rglob("*")) == before


def test_locked(pulled: Snapshot, draft: Path, store: Store, loader: Loader) -> None:
    """What the lock says is taken, whatever has been published or promoted since."""
    publish(draft, store)
    assert loader("pull", "--output", "other").code == 0
    assert verify_package(Path("other")).manifest.version == 2
    LOCK.write_bytes(pulled["model.lock"])
    assert loader("pull", "--locked", "--output", "other").code == 0
    assert verify_package(Path("other")).manifest.version == 1
    assert snapshot(Path()) == pulled


def test_locked_knows_its_store(pulled: Snapshot, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock's store is used, not the setting's, unless another is given."""
    monkeypatch.setenv("MODEL_STORE", "file:elsewhere")
    assert loader("pull", "--locked", "--output", "other").code == 0
    result = loader("pull", "--locked", "--store", "file:elsewhere")
    assert result.code == 1
    assert "tiny/1 is not published in the store file:elsewhere; versions: none" in result.err


def test_locked_refuses_another_digest(pulled: Snapshot, store: Store, loader: Loader) -> None:
    """A store that has something else under the lock's version is refused."""
    lock = json.loads(LOCK.read_text()) | {"digest": "sha256:" + "0" * 64}
    LOCK.write_text(json.dumps(lock))
    before = snapshot(Path())
    result = loader("pull", "--locked")
    assert result.code == 1
    assert f"the lock names tiny/1@{lock['digest']}, the store {store.url} has tiny/1@sha256:" in result.err
    assert snapshot(Path()) == before


def test_locked_is_about_one_model(pulled: Snapshot, loader: Loader) -> None:
    """Another model than the lock's is not what the lock says."""
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
    """A lock that says nothing is refused."""
    if content is not None:
        LOCK.write_text(content)
    result = loader("pull", "--locked")
    assert result.code == 1
    assert message in result.err


def test_directories_come_and_go(workspace: Path, store: Store) -> None:
    """A package with files in directories comes with them, and the next may have a file in their place."""
    pull(store, publish(write_external(workspace / "one", "weights/part.bin"), store), MODEL)
    assert (MODEL / "weights/part.bin").is_file()
    pull(store, publish(write_external(workspace / "two", "weights"), store), MODEL)
    assert (MODEL / "weights").is_file()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:missing", "the store file:missing has no models: publish one, or correct the URL"),
        ("file:draft/model.onnx", "store file:draft/model.onnx: its directory: Not a directory"),
        ("model_store", "store 'model_store': expected file:PATH or https://"),
    ],
)
def test_no_such_store(pulled: Snapshot, loader: Loader, url: str, message: str) -> None:
    """A store that is none is one line that says what to do, exit 1, and `model/` as it was."""
    result = loader("pull", "--store", url)
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert message in line
    assert snapshot(Path()) == pulled
