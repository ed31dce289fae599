"""`model.lock`: the model version that belongs to a commit."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from model_loader.errors import PackageError
from model_loader.package import encode
from model_loader.store.atomic import atomic_write


@dataclass(frozen=True)
class Lock:
    """The content of `model.lock`.

    Attributes:
        store: URL of the store that the version was pulled from, without secrets.
    """

    name: str
    version: int
    digest: str
    store: str


def read_lock(path: Path) -> Lock:
    """Read the lock at `path`.

    Raises:
        PackageError: the file cannot be read, or is not a lock.
    """
    try:
        return parse_lock(path.read_bytes(), str(path))
    except OSError as exc:
        raise PackageError(
            f"no lock at {path}: {exc.strerror}; run pull without --locked to write one"
        ) from exc


def parse_lock(text: str | bytes, where: str) -> Lock:
    """Parse the content of a lock.

    Args:
        where: the name of the file in messages.

    Raises:
        PackageError: the text is not a lock.
    """
    try:
        match json.loads(text):
            case {"name": str(name), "version": int(version), "digest": str(digest), "store": str(store)}:
                return Lock(name, version, digest, store)
    except ValueError as exc:
        raise PackageError(f"{where} is not JSON: {exc}") from exc
    raise PackageError(f"{where}: expected name, version, digest and store")


@contextmanager
def write_lock_on_success(path: Path, lock: Lock) -> Iterator[None]:
    """Write `lock` if the block ends without an exception. A file with this content is not touched."""
    text = encode(asdict(lock))
    if path.is_file() and path.read_bytes() == text:
        yield
        return
    with atomic_write(path) as file:
        file.write(text)
        # If the block fills the disk, its exception must not be replaced by one of closing this file.
        file.flush()
        yield
