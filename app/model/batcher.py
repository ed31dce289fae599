"""Natural batching: while the model runs, requests wait together; when it is free, all that fit run as one.

There is no timer. An idle model is entered at once, a busy one finds its next batch waiting. A request that
the model answers faster than a thread could be woken runs where it is.
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

# Waking a thread and being woken by it costs about a tenth of this.
INLINE_S = 1e-3


class Result(NamedTuple):
    """What became of one request at the model.

    Attributes:
        outputs: name → array, list or dict.
        queue_duration: seconds from submission until the model began.
        infer_duration: seconds the model ran.
        batch_rows: rows that it ran on, those of others included.
        leads: whether this is the one request of its batch that stands for it in the metrics.
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
    kind: Any
    deadline: float
    submitted: float
    future: "Future[Result]" = field(default_factory=Future)


class Batcher:
    """Runs requests on the model: inline where that is fastest, else on threads, together where they fit."""

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
            threads: inferences that run at once.
            max_queue_rows: that may wait.
            max_batch_rows: of one inference; 1 switches batching off. One request may have more by itself.
            inline_rows: requests of at most so many rows run in the caller's thread, if none waits.
        """
        self.model = model
        self.inline_rows = inline_rows
        self.waiting_rows = 0
        self._max_batch_rows = max_batch_rows
        self._max_queue_rows = max_queue_rows
        self._jobs: deque[_Job] = deque()
        self._free = threads
        self._running = 0
        self._changed = threading.Condition()
        for number in range(threads):
            threading.Thread(target=self._work, name=f"inference-{number}", daemon=True).start()

    @property
    def in_flight(self) -> int:
        """Requests that wait for the model or run on a thread of its own."""
        return len(self._jobs) + self._running

    @property
    def is_free(self) -> bool:
        """Whether an inference could begin at once."""
        return self._free > len(self._jobs)

    def run(self, inputs: Inputs, rows: int) -> Result | None:
        """Runs the model here and now, where that is fastest; None where the request has to be submitted.

        Args:
            inputs: name → array in the model's dtype and shape.
            rows: of the batch dimension; 1 where there is none.

        Raises:
            RequestError: the model failed.
        """
        if rows > self.inline_rows or self._jobs:
            return None
        began = monotonic()
        outputs = self.model.infer(inputs)
        return Result(outputs, 0.0, monotonic() - began, rows)

    def submit(self, inputs: Inputs, rows: int, deadline: float) -> "Future[Result]":
        """Has the model run on `inputs` in another thread as soon as it is free.

        Args:
            inputs: name → array in the model's dtype and shape.
            rows: of the batch dimension; 1 where there is none.
            deadline: when it need not run any more, in seconds of the monotonic clock.

        Raises:
            QueueFull: too many rows wait.
        """
        job = _Job(inputs, rows, self._kind(inputs, rows), deadline, monotonic())
        with self._changed:
            is_over = self.waiting_rows + rows > self._max_queue_rows
            # One request may be larger than the queue, if it is alone in it.
            if is_over and not self.is_free and (self._jobs or not self._max_queue_rows):
                raise QueueFull(f"{self.waiting_rows} rows wait for the model already")
            self._jobs.append(job)
            self.waiting_rows += rows
            self._changed.notify()
        return job.future

    def _kind(self, inputs: Inputs, rows: int) -> Any:
        """What must be the same for requests to run together; None for one that runs alone."""
        if self._max_batch_rows == 1 or rows >= self._max_batch_rows:
            return None
        if not all(self.model.batched[name] and len(array) == rows for name, array in inputs.items()):
            return None
        return kind_of(inputs)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    self._changed.wait()
                jobs = self._take()
                self._free -= 1
                self._running += len(jobs)
            self._answer(jobs)
            with self._changed:
                self._free += 1
                self._running -= len(jobs)

    def _take(self) -> list[_Job]:
        """The request that has waited longest, and all others that can run with it."""
        first = self._jobs.popleft()
        jobs, rows, others = [first], first.rows, []
        while self._jobs and first.kind is not None and rows < self._max_batch_rows:
            job = self._jobs.popleft()
            if job.kind == first.kind and rows + job.rows <= self._max_batch_rows:
                jobs.append(job)
                rows += job.rows
            else:
                others.append(job)
        self._jobs.extendleft(reversed(others))
        self.waiting_rows -= rows
        return jobs

    def _answer(self, jobs: Sequence[_Job]) -> None:
        now = monotonic()
        live = []
        for job in jobs:
            if not job.future.set_running_or_notify_cancel():
                continue  # the client has left
            if job.deadline < now:
                job.future.set_exception(
                    DeadlineExceeded("the request's deadline passed before the model ran")
                )
            else:
                live.append(job)
        if not live:
            return
        try:
            results = self._run(live)
        except RequestError as exc:
            if len(live) == 1:
                live[0].future.set_exception(exc)
            else:  # one of them may be to blame: each is told its own outcome
                for job in live:
                    self._answer_alone(job)
        else:
            for job, result in zip(live, results, strict=True):
                job.future.set_result(result)

    def _answer_alone(self, job: _Job) -> None:
        try:
            job.future.set_result(self._run([job])[0])
        except RequestError as exc:
            job.future.set_exception(exc)

    def _run(self, jobs: Sequence[_Job]) -> list[Result]:
        began = monotonic()
        if len(jobs) == 1:
            parts: list[Mapping[str, Any]] = [self.model.infer(jobs[0].inputs)]
        else:
            inputs = {name: np.concatenate([job.inputs[name] for job in jobs]) for name in jobs[0].inputs}
            parts = _split(self.model.infer(inputs), [job.rows for job in jobs])
        took = monotonic() - began
        rows = sum(job.rows for job in jobs)
        return [
            Result(part, began - job.submitted, took, rows, is_batch_leader=job is jobs[0])
            for job, part in zip(jobs, parts, strict=True)
        ]


def kind_of(inputs: Inputs) -> tuple[Any, ...]:
    """Names and all dimensions but the first; the types are the model's."""
    return tuple((name, inputs[name].shape[1:]) for name in sorted(inputs))


def _split(outputs: Mapping[str, Any], rows: Sequence[int]) -> list[Mapping[str, Any]]:
    """The outputs of a batch, request by request."""
    bounds = np.cumsum([0, *rows]).tolist()
    return [{name: output[low:high] for name, output in outputs.items()} for low, high in pairwise(bounds)]
