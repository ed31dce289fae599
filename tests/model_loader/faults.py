"""Real stores with injected faults."""

import os
import signal
from typing import Any

from model_loader.errors import ConflictError
from model_loader.store import Store


class LostResponse:
    """A store that loses the response to the first write of an object, so that the retry gets a conflict."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name, self._is_lost = store, name, False

    def write(self, name: str, content: bytes, etag: str | None) -> None:
        """Write, and report a conflict the first time."""
        self._store.write(name, content, etag)
        if name.endswith(self._name) and not self._is_lost:
            self._is_lost = True
            raise ConflictError(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Killed:
    """A store that kills the process before the operation with a given number, counted from 0."""

    def __init__(self, store: Store, operation: int) -> None:
        self._store, self._remaining = store, operation

    def __getattr__(self, name: str) -> Any:
        if name in ("names", "read", "write", "upload", "chunks", "remove"):
            if self._remaining == 0:
                kill_process()
            self._remaining -= 1
        return getattr(self._store, name)


def kill_process() -> None:
    """Kill this process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
