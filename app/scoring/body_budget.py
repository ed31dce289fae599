"""The memory that a worker spends on request bodies."""

from threading import Lock

from app.errors import MISSED_DEADLINE, DeadlineExceeded, MemoryExhausted

# Smaller bodies of announced length are not counted: every open connection has a read buffer of this size.
UNCOUNTED_BYTES = 16 * 1024


class BodyBudget:
    """Limit of the bytes of all bodies in flight in a worker, as received and as decompressed.

    It is used from the event loop, from Flask's threads and from the thread that decompresses.
    """

    def __init__(self, max_bytes: int) -> None:
        self._free = max_bytes
        self._lock = Lock()

    def reserve(self, size: int) -> None:
        """Take bytes from the budget.

        Raises:
            MemoryExhausted: fewer are left.
        """
        with self._lock:
            if size > self._free:
                raise MemoryExhausted(
                    "the bodies of other requests fill the memory that is set aside for them"
                )
            self._free -= size

    def release(self, size: int) -> None:
        """Return bytes to the budget."""
        with self._lock:
            self._free += size


class Reservation:
    """The part of the budget that one request has taken.

    A thread may still decompress a body whose request has ended, at its deadline or with its client.
    """

    __slots__ = ("_budget", "_is_released", "_lock", "_size")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._size = 0
        self._is_released = False
        self._lock = Lock()

    def grow(self, size: int) -> None:
        """Take more bytes from the budget.

        Raises:
            MemoryExhausted: fewer are left.
            DeadlineExceeded: the reservation is released.
        """
        with self._lock:
            if self._is_released:
                raise DeadlineExceeded(MISSED_DEADLINE)
            self._budget.reserve(size)
            self._size += size

    def release(self) -> None:
        """Return everything to the budget, for good."""
        with self._lock:
            self._is_released = True
            self._budget.release(self._size)
            self._size = 0
