"""Files on their way to and from a store, with their progress."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from model_loader.errors import PackageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Told the file's path in the package, the bytes moved so far and the bytes in all.
Progress = Callable[[str, int, int], None]


def silent(path: str, done: int, total: int) -> None:
    """Tells nobody."""


class Source(io.FileIO):
    """A file on its way up, read once and in order, which knows the hash of what was read."""

    def __init__(self, directory: Path, path: str, size: int, progress: Progress) -> None:
        super().__init__(directory / path)
        self._path, self._size, self._progress = path, size, progress
        self._hash = hashlib.sha256()

    def seekable(self) -> bool:
        """No: Azure's client would read blocks out of order, and the hash could not follow."""
        return False

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes.

        Raises:
            PackageError: the file ends before its size.
        """
        data = super().read(size) or b""
        self._hash.update(data)
        if data:
            self._progress(self._path, self.tell(), self._size)
        elif self.tell() < self._size:
            raise PackageError(f"{self._path} became shorter while it was being published")
        return data

    def sha256(self) -> str:
        """The hash of everything that was read."""
        return self._hash.hexdigest()


class Target(io.FileIO):
    """A file on its way down."""

    def __init__(self, directory: Path, path: str, size: int, progress: Progress) -> None:
        super().__init__(directory / path, "w")
        self._path, self._size, self._progress = path, size, progress
        self._done = 0

    def write(self, data: "ReadableBuffer", /) -> int:
        """Writes at the position that was sought last."""
        count = super().write(data)
        self._done += count
        self._progress(self._path, self._done, self._size)
        return count
