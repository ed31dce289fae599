"""Store in a directory, with the guarantees of Blob storage: atomic writes and compare-and-swap."""

import hashlib
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from model_loader.errors import ConflictError, NotFoundError, StoreError
from model_loader.store.atomic import atomic_write, exclusive_lock
from model_loader.store.names import check_object_name, check_small, is_object_name

CHUNK_BYTES = 1024 * 1024


class FileStore:
    """The directory `root` as a `Store`. It is created with the first object."""

    def __init__(self, root: Path, url: str) -> None:
        self.url = url
        self._root = root

    def names(self, prefix: str) -> list[str]:
        """List the files below `prefix`, except hidden ones: they are temporary files."""
        with self.wrap_errors(prefix):
            try:
                return sorted(
                    filter(is_object_name, self._walk(self._locate(prefix) if prefix else self._root))
                )
            except FileNotFoundError:
                return []

    def etags(self, prefix: str) -> dict[str, str]:
        """List the files below `prefix`, with inode, size and time: a replaced file has another inode."""
        with self.wrap_errors(prefix):
            return {name: _etag(self._root / name) for name in self.names(prefix)}

    def etag(self, name: str) -> str | None:
        """Return inode, size and time of a file."""
        with self.wrap_errors(name):
            try:
                return _etag(self._locate(name))
            except FileNotFoundError:
                return None

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Read a file, with its hash as the ETag."""
        with self.wrap_errors(name):
            try:
                path = self._locate(name)
                check_small(name, path.stat().st_size, self.url)
                content = path.read_bytes()
            except FileNotFoundError:
                return None
        return content, hashlib.sha256(content).hexdigest()

    def write(self, name: str, content: bytes, etag: str | None) -> None:
        """Compare and swap under the store's lock, which every writer takes."""
        with self.wrap_errors(name):
            self._root.mkdir(parents=True, exist_ok=True)
            with exclusive_lock(self._root):
                _, found = self.read(name) or (b"", None)
                if found != etag:
                    raise ConflictError(f"{name} in the store {self.url} was written by somebody else")
                self.upload(name, io.BytesIO(content))

    def upload(self, name: str, source: BinaryIO) -> None:
        """Copy `source` to a hidden file, which is renamed when it is complete."""
        with self.wrap_errors(name):
            target = self._locate(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target) as file:
                shutil.copyfileobj(source, file, CHUNK_BYTES)

    def remove(self, prefix: str) -> None:
        """Remove a directory, with its temporary files."""
        with self.wrap_errors(prefix), suppress(FileNotFoundError):
            shutil.rmtree(self._locate(prefix.rstrip("/")))

    def delete(self, name: str) -> None:
        """Unlink a file."""
        with self.wrap_errors(name):
            self._locate(name).unlink(missing_ok=True)

    def chunks(self, name: str, start: int = 0) -> Iterator[bytes]:
        """Read a file in blocks."""
        with self.wrap_errors(name), self._locate(name).open("rb") as source:
            source.seek(start)
            while chunk := source.read(CHUNK_BYTES):
                yield chunk

    def _walk(self, directory: Path) -> Iterator[str]:
        for entry in directory.iterdir():
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and not entry.is_symlink():
                yield from self._walk(entry)
            else:
                yield entry.relative_to(self._root).as_posix()

    def _locate(self, name: str) -> Path:
        """Return the path of an object, or of a prefix. Links are not followed: they may leave the store."""
        located = path = self._root / check_object_name(name.removesuffix("/"), self.url)
        while path != self._root:
            if path.is_symlink():
                link = path.relative_to(self._root)
                raise StoreError(
                    f"{link} in the store {self.url} is a symbolic link: replace it with its target"
                )
            path = path.parent
        return located

    @contextmanager
    def wrap_errors(self, name: str) -> Iterator[None]:
        """Raise file system errors as StoreError."""
        try:
            yield
        except FileNotFoundError as exc:
            raise NotFoundError(f"{name} is not in the store {self.url}") from exc
        except OSError as exc:
            raise StoreError(f"store {self.url}: {name or 'its directory'}: {exc.strerror}") from exc


def _etag(path: Path) -> str:
    found = path.stat()
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"
