"""A server's process and its descendants: measure their memory, and stop all of them."""

import ctypes
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

STOP_S = 8
# https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that `stop` finds all of them."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def pss_mb(pid: int) -> float:
    """Return the proportional set size of a process and its descendants in MB; shared pages count once."""
    sizes: list[int] = []
    for each in (pid, *descendants(pid)):
        rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        sizes += [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")]
    return sum(sizes) * 1024 / 1e6


def descendants(pid: int) -> list[int]:
    """Return the pids of all descendants of a process."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Send SIGTERM to the server, then SIGKILL to its remaining processes, even those in other sessions.

    All descendants of this process belong to the server, because one server runs at a time.
    """
    handles = []
    for pid in descendants(os.getpid()):
        with suppress(ProcessLookupError):
            handles.append(os.pidfd_open(pid))
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    for handle in handles:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)
    process.wait()
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
