"""Natural batching: requests that arrive while the model is busy run together as its next batch.

There is no timer. A request to an idle model runs at once. A request that the model answers faster than
another thread could be woken runs in the caller's thread.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from app.errors import DeadlineExceeded, QueueFull, RequestError
from app.model.onnx_model import Model

Inputs = Mapping[str, Any]

# Requests that take longer run on an inference thread. For shorter ones, switching threads twice would add
# too much to the latency.
INLINE_S = 1e-3


class Result(NamedTuple):
    """The model's answer to one request.

    Attributes:
        outputs: name → array, list or dict.
        queue_duration: seconds between submission and the start of the inference.
        infer_duration: duration of the inference in seconds.
        batch_rows: rows of the whole batch, including those of other requests.
        is_batch_leader: whether the metrics count the batch with this request; true once per batch.
    """

    outputs: Mapping[str, Any]
    queue_duration: float
    infer_duration: float
    batch_rows: int
    is_batch_leader: bool = True


@dataclass(slots=True)
class _Job:
    inputs: Inputs
    rows: int
    batch_key: Any
    deadline: float
    submitted: float
    future: "Future[Result]" = field(default_factory=Future)


class Batcher:
    """Run requests on the model: fast ones in the caller's thread, others on inference threads in batches."""

    def __init__(
        self,
        model: Model,
        *,
        threads: int,
        max_queue_rows: int,
        max_batch_rows: int = 1,
        inline_rows: int = 0,
    ) -> None:
        """
        Args:
            threads: number of concurrent inferences.
            max_queue_rows: maximum number of waiting rows.
            max_batch_rows: maximum rows per batch; 1 disables batching. A single request may be larger.
            inline_rows: maximum rows of a request that runs in the caller's thread if the queue is empty.
        """
        self.model = model
        self.inline_rows = inline_rows
        self.waiting_rows = 0
        self._max_batch_rows = max_batch_rows
        self._max_queue_rows = max_queue_rows
        self._jobs: deque[_Job] = deque()
        self._idle_threads = threads
        self._running = 0
        self._changed = threading.Condition()
        for number in range(threads):
            threading.Thread(target=self._run_jobs, name=f"inference-{number}", daemon=True).start()

    @property
    def in_flight(self) -> int:
        """Number of requests that wait for the model or run on an inference thread."""
        return len(self._jobs) + self._running

    @property
    def is_free(self) -> bool:
        """Whether an inference could start at once."""
        return self._idle_threads > len(self._jobs)

    def run(self, inputs: Inputs, rows: int) -> Result | None:
        """Run the model in the caller's thread, or return None if the request has to be submitted.

        Args:
            inputs: name → array in the model's dtype and shape.
            rows: size of the batch dimension; 1 without one.

        Raises:
            RequestError: the model failed.
        """
        if rows > self.inline_rows or self._jobs:
            return None
        began = monotonic()
        outputs = self.model.infer(inputs)
        return Result(outputs, 0.0, monotonic() - began, rows)

    def submit(self, inputs: Inputs, rows: int, deadline: float) -> "Future[Result]":
        """Queue a request for the inference threads.

        Args:
            inputs: name → array in the model's dtype and shape.
            rows: size of the batch dimension; 1 without one.
            deadline: time after which the request is dropped, in seconds of the monotonic clock.

        Raises:
            QueueFull: too many rows are waiting.
        """
        job = _Job(inputs, rows, self._batch_key(inputs, rows), deadline, monotonic())
        with self._changed:
            exceeds_limit = self.waiting_rows + rows > self._max_queue_rows
            # A request that is larger than the queue may wait if the queue is empty.
            if exceeds_limit and not self.is_free and (self._jobs or not self._max_queue_rows):
                raise QueueFull(f"{self.waiting_rows} rows wait for the model already")
            self._jobs.append(job)
            self.waiting_rows += rows
            self._changed.notify()
        return job.future

    def _batch_key(self, inputs: Inputs, rows: int) -> Any:
        """Return what the requests of a batch have in common; None if this one cannot share a batch."""
        if self._max_batch_rows == 1 or rows >= self._max_batch_rows:
            return None
        batched = self.model.batched_inputs
        if not all(name in batched and len(array) == rows for name, array in inputs.items()):
            return None
        return row_shapes(inputs)

    def _run_jobs(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    self._changed.wait()
                jobs = self._next_batch()
                self._idle_threads -= 1
                self._running += len(jobs)
            self._run_batch(jobs)
            with self._changed:
                self._idle_threads += 1
                self._running -= len(jobs)

    def _next_batch(self) -> list[_Job]:
        """Remove and return the oldest request and all others that fit into its batch."""
        first = self._jobs.popleft()
        jobs, rows, others = [first], first.rows, []
        while self._jobs and first.batch_key is not None and rows < self._max_batch_rows:
            job = self._jobs.popleft()
            if job.batch_key == first.batch_key and rows + job.rows <= self._max_batch_rows:
                jobs.append(job)
                rows += job.rows
            else:
                others.append(job)
        self._jobs.extendleft(reversed(others))
        self.waiting_rows -= rows
        return jobs

    def _run_batch(self, jobs: Sequence[_Job]) -> None:
        now = monotonic()
        live = []
        for job in jobs:
            if not job.future.set_running_or_notify_cancel():
                continue  # the client has disconnected
            if job.deadline < now:
                job.future.set_exception(
                    DeadlineExceeded("the request's deadline passed before the model ran")
                )
            else:
                live.append(job)
        if not live:
            return
        try:
            results = self._infer(live)
        except RequestError as exc:
            if len(live) == 1:
                live[0].future.set_exception(exc)
            else:  # one request's data may have failed the whole batch
                for job in live:
                    self._run_single(job)
        else:
            for job, result in zip(live, results, strict=True):
                job.future.set_result(result)

    def _run_single(self, job: _Job) -> None:
        try:
            job.future.set_result(self._infer([job])[0])
        except RequestError as exc:
            job.future.set_exception(exc)

    def _infer(self, jobs: Sequence[_Job]) -> list[Result]:
        began = monotonic()
        if len(jobs) == 1:
            parts: list[Mapping[str, Any]] = [self.model.infer(jobs[0].inputs)]
        else:
            inputs = {name: np.concatenate([job.inputs[name] for job in jobs]) for name in jobs[0].inputs}
            parts = _split(self.model.infer(inputs), [job.rows for job in jobs])
        duration = monotonic() - began
        rows = sum(job.rows for job in jobs)
        return [
            Result(part, began - job.submitted, duration, rows, is_batch_leader=job is jobs[0])
            for job, part in zip(jobs, parts, strict=True)
        ]


def row_shapes(inputs: Inputs) -> tuple[Any, ...]:
    """Return the inputs' names and their shapes without the batch dimension."""
    return tuple((name, inputs[name].shape[1:]) for name in sorted(inputs))


def _split(outputs: Mapping[str, Any], rows: Sequence[int]) -> list[Mapping[str, Any]]:
    """Split the outputs of a batch into those of its requests."""
    bounds = np.cumsum([0, *rows]).tolist()
    return [{name: output[low:high] for name, output in outputs.items()} for low, high in pairwise(bounds)]
