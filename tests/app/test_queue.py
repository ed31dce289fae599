"""The queue in front of the model."""

import threading
from time import monotonic

import pytest

from app.errors import DeadlineExceeded, QueueFull
from app.queue import InferenceQueue

SOON = 0.05


def later() -> float:
    """A deadline far enough."""
    return monotonic() + 30


def test_free() -> None:
    """A free place is taken at once, again and again."""
    queue = InferenceQueue(concurrency=1, max_size=0)
    for _ in range(3):
        with queue.slot(later()):
            pass


def test_full() -> None:
    """One more than may wait is refused at once."""
    queue = InferenceQueue(concurrency=1, max_size=0)
    with queue.slot(later()), pytest.raises(QueueFull, match="0 requests wait"), queue.slot(later()):
        pytest.fail("two at once")


def test_deadline_while_waiting() -> None:
    """Waiting ends at the deadline, and the place in the queue is given back."""
    queue = InferenceQueue(concurrency=1, max_size=1)
    with queue.slot(later()):
        for _ in range(2):
            with pytest.raises(DeadlineExceeded), queue.slot(monotonic() + SOON):
                pytest.fail("two at once")


def test_deadline_passed() -> None:
    """A request whose deadline has passed does not run, and leaves the place free."""
    queue = InferenceQueue(concurrency=1, max_size=1)
    with pytest.raises(DeadlineExceeded), queue.slot(monotonic() - 1):
        pytest.fail("ran after its deadline")
    with queue.slot(later()):
        pass


def test_failure_frees_the_place() -> None:
    """A failure inside gives the place back."""
    queue = InferenceQueue(concurrency=1, max_size=0)
    with pytest.raises(ZeroDivisionError), queue.slot(later()):
        raise ZeroDivisionError
    with queue.slot(later()):
        pass


def test_never_more_than_concurrency() -> None:
    """Of many threads at once, no more than `concurrency` are inside, and all get in."""
    queue = InferenceQueue(concurrency=2, max_size=100)
    lock, inside, most, done = threading.Lock(), 0, 0, 0

    def enter() -> None:
        nonlocal inside, most, done
        with queue.slot(later()):
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.002)
            with lock:
                inside -= 1
                done += 1

    threads = [threading.Thread(target=enter) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (2, 30)
