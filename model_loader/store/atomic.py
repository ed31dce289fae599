"""Files and directories that are the old or the new, and nothing between, whenever the process dies."""

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

# renameat2(2): the current directory in place of a descriptor; swap two names in one step.
AT_FDCWD = -100
RENAME_EXCHANGE = 2


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write what `path` shall hold; it takes its place when the block ends without an exception."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def exclusive_lock(directory: Path) -> Iterator[None]:
    """Waits until nobody else is in such a block for `directory`. One who dies there has left it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace_directory(new: Path, target: Path) -> None:
    """Makes `new` the directory `target`, and removes what stood there.

    Raises:
        OSError: the file system refuses; `target` is as it was.
    """
    if not target.exists():
        new.rename(target)
    elif _exchange(new, target):
        shutil.rmtree(new)
    else:
        _rename_twice(new, target)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two directories in one step. Returns False where the system has no such step."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _rename_twice(new: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)
