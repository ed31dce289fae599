"""Threads that run a team's pre- and post-processing hooks."""

from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from time import monotonic

from app.errors import DeadlineExceeded, QueueFull
from app.model.transform import NamedValues
from app.model.transform_hooks import TransformStep


class TransformExecutor:
    """Run the hooks `before` and `after` on threads, each on a pool of its own."""

    def __init__(self, threads: int, max_waiting: int) -> None:
        """
        Args:
            threads: maximum number of concurrent calls of each hook.
            max_waiting: maximum number of requests that wait for `before`.
        """
        # Separate pools: a finished inference must not queue behind requests that arrived later.
        self._before, self._after = (ThreadPoolExecutor(threads, name) for name in ("before", "after"))
        self._slots = BoundedSemaphore(max_waiting + threads)

    def before(self, function: TransformStep, inputs: NamedValues, deadline: float) -> Future[NamedValues]:
        """Run the pre-processing hook.

        Args:
            function: the hook.
            inputs: the request's inputs.
            deadline: time after which the hook is not started, in seconds of the monotonic clock.

        Returns:
            a future of the model's inputs.

        Raises:
            QueueFull: too many requests are waiting.
        """
        if not self._slots.acquire(blocking=False):
            raise QueueFull("too many requests wait for pre-processing")

        def run() -> NamedValues:
            if deadline < monotonic():
                raise DeadlineExceeded("the request's deadline passed before the model ran")
            return function(inputs)

        future = self._before.submit(run)
        # Not in `run`, which is never called if the client disconnects while the request waits.
        future.add_done_callback(lambda _: self._slots.release())
        return future

    def after(self, function: TransformStep, outputs: NamedValues) -> Future[NamedValues]:
        """Run the post-processing hook.

        Args:
            function: the hook.
            outputs: the model's outputs.

        Returns:
            a future of the response's outputs.
        """
        return self._after.submit(function, outputs)
