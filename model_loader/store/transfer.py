"""Files that report their progress while they are uploaded or downloaded."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from model_loader.errors import PackageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Called with the path in the package, the bytes transferred so far, and the total bytes.
Progress = Callable[[str, int, int], None]


def no_progress(path: str, done: int, total: int) -> None:
    """Report nothing."""


class Source(io.FileIO):
    """A file to upload. It is read once, in order, and hashed as it is read."""

    def __init__(self, file: Path, path: str, size: int, progress: Progress) -> None:
        super().__init__(file)
        self._path, self._size, self._progress = path, size, progress
        self._hash = hashlib.sha256()

    def seekable(self) -> bool:
        """Return False, so that Azure's client reads the blocks in order, as the hash requires."""
        return False

    def read(self, size: int | None = -1, /) -> bytes:
        """Read the next bytes.

        Raises:
            PackageError: the file has become shorter.
        """
        data = super().read(size) or b""
        self._hash.update(data)
        if data:
            self._progress(self._path, self.tell(), self._size)
        elif self.tell() < self._size:
            raise PackageError(f"{self._path} became shorter while it was being published")
        return data

    def sha256(self) -> str:
        """Return the hash of all bytes read so far."""
        return self._hash.hexdigest()


class Target(io.FileIO):
    """A file to download into."""

    def __init__(self, directory: Path, path: str, size: int, progress: Progress) -> None:
        super().__init__(directory / path, "w")
        self._path, self._size, self._progress = path, size, progress
        self._done = 0

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write at the current position, which the client seeks for each range."""
        count = super().write(data)
        self._done += count
        self._progress(self._path, self._done, self._size)
        return count
