"""Files that report their progress while they are uploaded or downloaded."""

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from model_loader.errors import PackageError
from model_loader.package import FileEntry

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

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


def verified(chunks: Iterator[bytes], path: str, expected: FileEntry, progress: Progress) -> Iterator[bytes]:
    """Yield the content of a file, and verify it as it passes.

    Raises:
        PackageError: the content is another one; raised instead of the end, so that an upload fails.
    """
    digest, done = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        done += len(chunk)
        if done > expected.bytes:
            break
        progress(path, done, expected.bytes)
        yield chunk
    if (found := digest.hexdigest()) != expected.sha256:
        raise PackageError(
            f"{path} is not what was published: expected sha256 {expected.sha256} of {expected.bytes} bytes, "
            f"got {found} of {done}"
        )


class ChunkReader(io.RawIOBase):
    """Blocks of bytes as a file that is read once, in order."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks, self._rest = chunks, memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill the buffer with the next bytes, up to the end of a block."""
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
