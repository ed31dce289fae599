"""An even share of the connections for each worker.

An event loop accepts all waiting connections in one turn, and of several idle workers the kernel wakes the
same one first, time and again. Clients keep their connections open, so one worker would do the work of all.
Here every worker publishes how many connections it has, and leaves new ones for a moment to a worker with
fewer.
"""

import mmap
from typing import Any

# Including those that a reload replaces.
MAX_WORKERS = 128
# The count of a worker that shall get no connection: one that drains or has ended.
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
    """Tell the other workers how many connections this one has."""
    _counts[slot] = connections


def may_accept(slot: int) -> bool:
    """Whether no other worker has fewer connections by more than a quarter."""
    return _counts[slot] * 4 <= min(_counts.tolist()) * 5
