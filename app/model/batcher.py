"""Natural batching: requests that arrive while the model is busy run together as its next batch.

There is no timer. A request to an idle model runs at once. A request that the model answers faster than
another thread could be woken runs in the caller's thread.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from math import inf
from time import monotonic

from app.errors import MISSED_DEADLINE, DeadlineExceeded, QueueFull, RequestError, TooManyRequests
from app.model.cost_model import CostModel
from app.model.fair_queue import FairQueue
from app.model.job import Inputs, Job, Result, Slice, batch_key, join_inputs, split_outputs
from app.model.onnx_model import Model

# Requests that take longer run on an inference thread. For shorter ones, switching threads twice would add
# too much to the latency.
INLINE_S = 1e-3
# Above this multiple of the durations at the warm-up, every inference in the caller's thread is observed.
MAX_INLINE_SCALE = 4.0
# The wait for a turn is assumed to be longer by this factor than it is expected to be: durations vary, and
# callers that have no requests now may send some.
WAIT_MARGIN = 2.0
TOO_LATE = "the model could not have answered the request before its deadline"


class Batcher:
    """Run requests on the model: fast ones in the caller's thread, others on inference threads in batches.

    Attributes:
        model: the model.
        inline_rows: maximum rows of a request that runs in the caller's thread if the queue is empty.
        batching: which requests share a batch, or why they do not; for the log.
        in_flight: number of submitted requests without an outcome.
    """

    def __init__(
        self,
        model: Model,
        *,
        threads: int,
        max_queue_rows: int,
        cost: CostModel,
        batch_rows: int = 0,
        max_batch_s: float = inf,
        batching: str = "",
        inline_rows: int = 0,
    ) -> None:
        """
        Args:
            threads: number of concurrent inferences.
            max_queue_rows: maximum number of waiting rows.
            cost: predicts the duration of an inference.
            batch_rows: maximum rows per batch; larger requests run in slices. 0: requests run separately.
            max_batch_s: maximum expected duration of a batch of several rows, in seconds.
            batching: see the class.
            inline_rows: maximum of `inline_rows`, which is smaller while inferences take longer.
        """
        self.model = model
        self.inline_rows = self._max_inline_rows = inline_rows
        self.batching = batching
        self.in_flight = 0
        self._cost = cost
        self._max_batch_rows = batch_rows
        self._max_batch_s = max_batch_s
        self._max_queue_rows = max_queue_rows
        self._queue = FairQueue()
        self._threads = threads
        # Inference thread → when its inference is expected to end.
        self._running: dict[int, float] = {}
        self._changed = threading.Condition()
        self._adapt()
        for number in range(threads):
            name = f"inference-{number}"
            threading.Thread(target=self._run_jobs, args=(number,), name=name, daemon=True).start()

    @property
    def waiting_rows(self) -> int:
        """Number of rows that wait for the model."""
        return self._queue.rows

    @property
    def is_free(self) -> bool:
        """Whether an inference could start at once."""
        return self._threads - len(self._running) > self._queue.size

    def run(self, inputs: Inputs, rows: int) -> Result | None:
        """Run the model in the caller's thread, or return None if the request has to be submitted.

        Args:
            inputs: name → array in the model's dtype and shape.
            rows: size of the batch dimension; 1 without one.

        Raises:
            RequestError: the model failed.
        """
        if rows > self.inline_rows or self._queue.size:
            return None
        began = monotonic()
        outputs = self.model.infer(inputs)
        duration = monotonic() - began
        # The others would only confirm the average.
        if duration > INLINE_S or self._cost.scale > MAX_INLINE_SCALE:
            with self._changed:
                self._observe(rows, duration)
        return Result(outputs, 0.0, duration, rows)

    def submit(self, inputs: Inputs, rows: int, deadline: float, caller: str = "") -> "Future[Result]":
        """Queue a request for the inference threads.

        Args:
            inputs: name → array in the model's dtype and shape.
            rows: size of the batch dimension; 1 without one.
            deadline: in seconds of the monotonic clock; cancel the future when it has passed.
            caller: callers take turns.

        Raises:
            DeadlineExceeded: the deadline has passed.
            TooManyRequests: the caller's own requests leave no time before the deadline, or no room.
            QueueFull: the requests of all callers do.
        """
        key = batch_key(self.model.batched_inputs, inputs, rows) if self._batch_rows else None
        typical_rows = self._batch_rows if key is not None else max(1, rows)
        row_seconds = self._cost.base(typical_rows) / typical_rows
        future: Future[Result] = Future()
        job = Job(inputs, rows, key, caller, deadline, monotonic(), row_seconds, future)
        with self._changed:
            self._admit(job)
            self._queue.push(job)
            self.in_flight += 1
            self._changed.notify()
        future.add_done_callback(partial(self._forget, job))
        return future

    def _admit(self, job: Job) -> None:
        """Refuse a request that would not be answered before its deadline, or that there is no room for.

        Raises:
            DeadlineExceeded, TooManyRequests, QueueFull: see `submit`.
        """
        queue, remaining = self._queue, job.deadline - job.submitted
        if remaining <= 0:
            raise DeadlineExceeded(MISSED_DEADLINE)
        alone = self._seconds_alone(job)
        if self.is_free:
            # Only an inference shows that the model has become faster.
            if alone <= remaining or self._cost.is_outdated():
                return
            message = (
                f"the model takes about {alone:.1f} s for {job.rows} rows, and {remaining:.1f} s are left"
            )
            raise QueueFull(message, alone - remaining)
        late = self._answered_in(job, job.caller) - remaining
        has_room = self._has_room(job.rows, queue.rows_of(job.caller))
        if late <= 0 and has_room:
            return
        retry_after_s = max(late, self._cost.scale * job.seconds_left)
        if self._answered_in(job, None) <= remaining and self._has_room(job.rows, 0):
            own = queue.rows_of(job.caller)
            raise TooManyRequests(f"{own} rows of this caller wait for the model already", retry_after_s)
        raise QueueFull(f"{queue.rows} rows wait for the model already", retry_after_s)

    def _has_room(self, rows: int, own_rows: int) -> bool:
        """Return whether rows of a caller may wait, who has no more of them than are left for others."""
        if not self._queue.size and self._max_queue_rows:
            return True  # a request that is larger than the queue may wait if the queue is empty
        return own_rows + rows <= self._max_queue_rows - self._queue.rows

    def _answered_in(self, job: Job, caller: str | None) -> float:
        """Return in how many seconds a request is expected to be answered while the model is busy."""
        now, scale = monotonic(), self._cost.scale
        running = sum(max(0.0, end - now) for end in self._running.values())
        waiting = scale * self._queue.seconds_before(caller, job.seconds_left)
        own = self._seconds_alone(job)
        if job.batch_key is not None:
            # Requests that arrive later enlarge its last batch.
            own = max(
                own, scale * (job.seconds_left - job.row_seconds) + self._cost.predict(self._batch_rows)
            )
        return WAIT_MARGIN * (running + waiting) / self._threads + own

    def _seconds_alone(self, job: Job) -> float:
        """Return how long the model is expected to take for what is left of a request, without others."""
        rows = min(job.rows_left, self._batch_rows) if job.batch_key is not None else job.rows_left
        return max(self._cost.predict(rows), self._cost.scale * job.seconds_left)

    def _forget(self, job: Job, _future: object) -> None:
        """Remove a request that has an outcome, or whose client has disconnected."""
        with self._changed:
            self.in_flight -= 1
            self._queue.discard(job)
            # The future refers to the job. Only the garbage collector would free the tensors of a cycle.
            job.future = None

    def _run_jobs(self, number: int) -> None:
        while True:
            with self._changed:
                while not (batch := self._next_batch()):
                    self._changed.wait()
                rows = sum(each.rows for each in batch)
                self._running[number] = monotonic() + self._cost.predict(rows)
            self._run_batch(batch)
            del batch  # its arrays, while the thread waits for the next one
            with self._changed:
                del self._running[number]

    def _next_batch(self) -> list[Slice]:
        """Remove and return the rows whose turn it is, and all others that fit into their batch.

        A batch does not last longer than until the earliest deadline in it.
        """
        now = monotonic()
        batch: list[Slice] = []
        rows, deadline = 0, inf
        for job in self._queue.in_turn():
            if not batch:
                # The last one may try: only an inference shows that the model has become faster.
                seconds = self._seconds_alone(job) if self._queue.size > 1 else 0.0
                if now + seconds > job.deadline:
                    self._finish(job, DeadlineExceeded(TOO_LATE))
                    continue
                key = job.batch_key
                limit = self._batch_rows if key is not None else job.rows
                take = min(job.rows_left, limit)
            else:
                take = min(job.rows_left, limit - rows)
                is_split = take < job.rows_left and job.rows <= limit
                end = now + self._cost.predict(rows + take)
                if job.batch_key != key or is_split or end > min(deadline, job.deadline):
                    continue
            batch.append(Slice(job, job.taken, job.taken + take))
            self._queue.take(job, take)
            rows, deadline = rows + take, min(deadline, job.deadline)
            if key is None or rows >= limit:
                break
        return batch

    def _run_batch(self, batch: Sequence[Slice]) -> None:
        try:
            results = self._infer(batch)
        except RequestError as exc:
            if len(batch) == 1:
                self._finish(batch[0].job, exc)
            else:  # one request's data may have failed the whole batch
                for each in batch:
                    if each.job.future:
                        self._run_batch([each])
        else:
            for each, result in zip(batch, results, strict=True):
                self._add_result(each, result)

    def _infer(self, batch: Sequence[Slice]) -> list[Result]:
        began = monotonic()
        parts = split_outputs(self.model.infer(join_inputs(batch)), batch)
        duration = monotonic() - began
        rows = sum(each.rows for each in batch)
        with self._changed:
            self._observe(rows, duration)
        return [
            Result(part, began - each.job.submitted, duration, rows, is_batch_leader=each is batch[0])
            for each, part in zip(batch, parts, strict=True)
        ]

    def _observe(self, rows: int, duration: float) -> None:
        self._cost.observe(rows, duration)
        self._adapt()

    def _adapt(self) -> None:
        """Calculate the limits from the expected durations."""
        self.inline_rows = min(self._max_inline_rows, self._cost.rows_within(INLINE_S))
        self._batch_rows = min(self._max_batch_rows, max(1, self._cost.rows_within(self._max_batch_s)))

    def _add_result(self, part: Slice, result: Result) -> None:
        """Finish a request, or keep the result of a slice until the others have run."""
        job = part.job
        if part.is_whole:
            self._finish(job, result)
            return
        with self._changed:
            is_complete = job.add(part, result)
        if is_complete:
            self._finish(job, job.joined())

    def _finish(self, job: Job, outcome: Result | RequestError) -> None:
        with self._changed:
            future = job.future
            if job.is_finished or not future:
                return  # another slice has failed, its deadline has passed, or the client has disconnected
            job.is_finished = True
            self._queue.discard(job)
        if not future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, RequestError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
