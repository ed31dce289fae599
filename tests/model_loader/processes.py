"""What runs in processes of its own: publishers that race, and those that die."""

import os
import resource
import signal
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

from model_loader.registry.publish import publish
from model_loader.registry.pull import pull
from model_loader.registry.versions import find
from model_loader.store import open_store
from tests.model_loader.faults import Mortal, die

MIB = 1024 * 1024


def publish_and_die(url: str, draft: Path, operations: int) -> None:
    """Publishes once for each operation, in children that die before theirs.

    The last child finishes; it is what proves that `operations` are all there are.
    """
    for death in range(operations + 1):
        child = os.fork()
        if child == 0:
            publish(draft, Mortal(open_store(url), death))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        expected = -signal.SIGKILL if death < operations else 0
        if os.waitstatus_to_exitcode(status) != expected:
            sys.exit(f"operation {death}: expected {expected}, got {os.waitstatus_to_exitcode(status)}")


def publish_and_die_within(url: str, draft: Path, path: str) -> None:
    """Dies when the first block of a file has been read."""
    publish(draft, open_store(url), progress=lambda moved, *_: die() if moved == path else None)


def pull_and_die_within(url: str, path: str) -> None:
    """Dies when the first block of a file has been written."""
    store = open_store(url)
    published = find(store, "tiny", "latest")
    pull(store, published, Path("model"), progress=lambda moved, *_: die() if moved == path else None)


def publish_rounds(url: str, draft: Path, rounds: int, barrier: Barrier) -> None:
    """Publishes as often, each time at the same moment as the others who wait at the barrier."""
    store = open_store(url)
    for _ in range(rounds):
        barrier.wait(60)
        publish(draft, store)


def publish_and_pull_within(url: str, draft: Path, allowed_bytes: int) -> None:
    """Publishes a package and pulls it; fails if memory grew by more than is allowed meanwhile."""
    store = open_store(url)
    # Libraries are loaded, and their pools warm, before anything is measured.
    pull(store, find(store, "tiny", "latest"), Path("model"))
    before = peak_bytes()
    published = publish(draft, store)
    pull(store, published, Path("model"))
    if (grown := peak_bytes() - before) > allowed_bytes:
        sys.exit(f"memory grew by {grown // MIB} MiB")


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
