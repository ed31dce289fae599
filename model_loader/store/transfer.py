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
    """A file to download into, after what it has already."""

    def __init__(self, file: Path, path: str, size: int, progress: Progress) -> None:
        super().__init__(file, "a")
        self._path, self._size, self._progress = path, size, progress

    def write(self, data: "ReadableBuffer", /) -> int:
        """Append a block.

        Raises:
            PackageError: the file would become larger than its manifest says, or the disk is full.
        """
        block = memoryview(data).cast("B")
        if self.tell() + len(block) > self._size:
            raise PackageError(
                f"{self._path} is not what was published: expected {self._size} bytes, the store has more"
            )
        written = 0
        while written < len(block):
            try:
                written += super().write(block[written:])
            except OSError as exc:
                raise PackageError(
                    f"{self._path}: {exc.strerror} after {self.tell():,} of {self._size:,} bytes: free space "
                    "and run the command again, which continues from there"
                ) from exc
        self._progress(self._path, self.tell(), self._size)
        return written
