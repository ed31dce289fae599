"""`model.lock`: which model belongs to this commit."""

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
    """The content of a lock.

    Attributes:
        store: the URL of the store it was pulled from, without a secret.
    """

    name: str
    version: int
    digest: str
    store: str


def read_lock(path: Path) -> Lock:
    """Reads the lock at `path`.

    Raises:
        PackageError: there is none, or it is not one.
    """
    try:
        return parse_lock(path.read_bytes(), str(path))
    except OSError as exc:
        raise PackageError(f"no lock at {path}: {exc.strerror}; pull without --locked writes one") from exc


def parse_lock(text: str | bytes, where: str) -> Lock:
    """The lock that a text is; `where` it stands is for the message.

    Raises:
        PackageError: it is not one.
    """
    try:
        match json.loads(text):
            case {"name": str(name), "version": int(version), "digest": str(digest), "store": str(store)}:
                return Lock(name, version, digest, store)
    except ValueError as exc:
        raise PackageError(f"{where} is not JSON: {exc}") from exc
    raise PackageError(f"{where}: expected name, version, digest and store")


@contextmanager
def writing(path: Path, lock: Lock) -> Iterator[None]:
    """Writes `lock` when the block ends without an exception. A file that says so already is left alone."""
    text = encode(asdict(lock))
    if path.is_file() and path.read_bytes() == text:
        yield
        return
    with atomic_write(path) as file:
        file.write(text)
        yield
