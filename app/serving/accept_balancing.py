"""Balance connections over the workers.

An event loop accepts all waiting connections in one turn, and the kernel always wakes the same idle worker
first. Since clients keep their connections open, one worker would serve nearly all of them. Here every worker
publishes its number of connections, and waits a moment before it accepts more than a worker with fewer.
"""

import mmap
from typing import Any

# Including those that a reload replaces.
MAX_WORKERS = 128
# The count of a worker that must not get connections: it drains, or has ended.
UNAVAILABLE = 2**31 - 1

# Allocated before the fork, so that all workers share it. Only the master assigns slots.
_counts = memoryview(mmap.mmap(-1, 4 * MAX_WORKERS)).cast("i")
_free_slots = set(range(MAX_WORKERS))
for _slot in _free_slots:
    _counts[_slot] = UNAVAILABLE


def assign_slot() -> int:
    """Return a free slot; the last one, shared, if there is none. Called in the master."""
    slot = min(_free_slots, default=MAX_WORKERS - 1)
    _free_slots.discard(slot)
    return slot


def release_slot(worker: Any) -> None:
    """Free the slot of a worker that has ended. Called in the master."""
    publish(worker.slot, UNAVAILABLE)
    _free_slots.add(worker.slot)


def publish(slot: int, connections: int) -> None:
    """Publish the number of connections of a worker."""
    _counts[slot] = connections


def may_accept(slot: int) -> bool:
    """Return whether no other worker has over a quarter fewer connections."""
    return _counts[slot] * 4 <= min(_counts.tolist()) * 5
