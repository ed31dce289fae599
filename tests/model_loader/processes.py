"""Functions that tests run in other processes: concurrent publishers, and publishers that are killed."""

import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

from model_loader.package.draft import read_draft
from model_loader.registry.check import check_files
from model_loader.registry.publish import publish_draft
from model_loader.registry.pull import pull
from model_loader.registry.versions import find
from model_loader.store import open_store
from model_loader.store.transfer import Progress
from tests.model_loader.drafts import publish
from tests.model_loader.faults import Killed, kill_process

MIB = 1024 * 1024


def publish_and_die(url: str, draft: Path, operation: int) -> None:
    """Publish; the process is killed before the operation with this number."""
    publish(draft, Killed(open_store(url), operation))


def publish_and_die_at(url: str, draft: Path, delays_s: Sequence[float]) -> None:
    """Publish in one child process for each delay, after which it is killed, wherever it is then."""
    checked, store = check_files(read_draft(draft)), open_store(url)
    for delay_s in delays_s:
        child = os.fork()
        if child == 0:
            publish_draft(checked, store, reason="killed")
            os._exit(0)
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def publish_and_die_within(url: str, draft: Path, path: str) -> None:
    """Publish; the process is killed after the first block of a file."""
    publish(draft, open_store(url), progress=kill_at(path))


def pull_and_die_within(url: str, path: str) -> None:
    """Pull; the process is killed after the first block of a file."""
    store = open_store(url)
    published = find(store, "tiny", "latest")
    pull(store, published, Path("model"), progress=kill_at(path))


def kill_at(path: str) -> Progress:
    """Return a progress function that kills the process after the first block of a file."""
    return lambda transferred, *_: kill_process() if transferred == path else None


def publish_rounds(url: str, draft: Path, rounds: int, barrier: Barrier) -> None:
    """Publish several times, each time at the same moment as the other processes at the barrier."""
    store = open_store(url)
    for _ in range(rounds):
        barrier.wait(60)
        publish(draft, store)


def publish_and_pull_within(url: str, draft: Path, allowed_bytes: int) -> None:
    """Publish a package and pull it; exit with an error if memory grew by more than is allowed."""
    store = open_store(url)
    # Libraries are loaded and their buffer pools filled before the measurement.
    pull(store, find(store, "tiny", "latest"), Path("model"))
    before = peak_bytes()
    published = publish(draft, store)
    pull(store, published, Path("model"))
    if (grown := peak_bytes() - before) > allowed_bytes:
        sys.exit(f"memory grew by {grown // MIB} MiB")


def peak_bytes() -> int:
    """Return the maximum memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
