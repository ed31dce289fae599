"""Real stores at which something goes wrong."""

import os
import signal
from typing import Any

from model_loader.errors import ConflictError
from model_loader.store import Store


class Forgetful:
    """A store whose answer to the first write of an object is lost, so that a retry is told of a conflict."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name, self._lost = store, name, False

    def write(self, name: str, content: bytes, etag: str | None) -> None:
        """Writes, and says that somebody else did."""
        self._store.write(name, content, etag)
        if name.endswith(self._name) and not self._lost:
            self._lost = True
            raise ConflictError(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Mortal:
    """A store whose process is killed before the operation with a given number, the first being 0."""

    def __init__(self, store: Store, death: int) -> None:
        self._store, self._left = store, death

    def __getattr__(self, name: str) -> Any:
        if name in ("names", "read", "write", "upload", "download"):
            if self._left == 0:
                die()
            self._left -= 1
        return getattr(self._store, name)


def die(*_: object) -> None:
    """Ends this process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
