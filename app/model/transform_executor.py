"""Threads that run a team's pre- and post-processing hooks."""

from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from time import monotonic

from app.errors import DeadlineExceeded, QueueFull
from app.model.served_model import TransformStep
from app.transform import NamedValues


class TransformExecutor:
    """Threads that run a transform: as many at once as the model runs."""

    def __init__(self, threads: int, max_waiting: int) -> None:
        """
        Args:
            max_waiting: requests that may wait for `before`.
        """
        # Answers do not stand in line behind the requests that came later.
        self._before, self._after = (ThreadPoolExecutor(threads, name) for name in ("before", "after"))
        self._places = BoundedSemaphore(max_waiting + threads)

    def before(self, function: TransformStep, inputs: NamedValues, deadline: float) -> Future[NamedValues]:
        """Has the model's inputs made of a request's.

        Args:
            deadline: when it need not begin any more, in seconds of the monotonic clock.

        Raises:
            QueueFull: too many requests wait.
        """
        if not self._places.acquire(blocking=False):
            raise QueueFull("too many requests wait for what is done before the model")

        def run() -> NamedValues:
            if deadline < monotonic():
                raise DeadlineExceeded("the request's deadline passed before the model ran")
            return function(inputs)

        future = self._before.submit(run)
        # Also where the client leaves before it ran.
        future.add_done_callback(lambda _: self._places.release())
        return future

    def after(self, function: TransformStep, outputs: NamedValues) -> Future[NamedValues]:
        """Has what is answered made of the model's outputs."""
        return self._after.submit(function, outputs)
