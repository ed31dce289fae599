"""How the C library keeps memory.

https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html, M_MMAP_THRESHOLD
"""

import ctypes
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGE_BLOCK_BYTES = 4 * 1024 * 1024
# With glibc's default, 128 KiB, the memory of a body of 600 KB would be returned after every request, and the
# page faults of the next took 0.6 ms of 1.0 (`scripts/bench --only overhead --peers service`).
KEPT_BYTES = 2 * LARGE_BLOCK_BYTES


def return_large_blocks() -> None:
    """Make the C library return large blocks to the system when they are freed.

    By default glibc keeps up to 64 MiB in every thread after the first large block: a worker that had
    answered a request of 32 MiB stayed 170 MB larger. Of smaller blocks, up to KEPT_BYTES are kept.
    """
    if sys.platform == "linux":
        # Another C library, such as musl, does not have it, and returns large blocks anyway.
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:
            mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
            mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
