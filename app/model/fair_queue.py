"""The queue of requests in which callers take turns.

The next request is that of the caller that has had the least time of the model since it began
to wait: start-time fair queueing, https://doi.org/10.1145/248156.248171. A caller without waiting requests is
forgotten.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.model.job import Job

# Callers with a turn of their own; the others share one. Every request looks at each of them.
MAX_CALLERS = 128
OTHERS = ""


@dataclass(slots=True)
class _Turn:
    """A caller's requests, in the order of their arrival.

    Attributes:
        start: when its next request begins, on a clock of the model's time for each caller.
        rows: number of rows that wait.
        seconds: expected time that the model takes for them.
    """

    start: float
    jobs: "OrderedDict[Job, None]" = field(default_factory=OrderedDict)
    rows: int = 0
    seconds: float = 0.0


class FairQueue:
    """Requests that wait for the model, by caller. It is not thread-safe.

    Attributes:
        size: number of requests that wait.
        rows: number of rows that wait.
    """

    def __init__(self) -> None:
        self.size = 0
        self.rows = 0
        self._turns: dict[str, _Turn] = {}
        self._clock = 0.0

    def push(self, job: Job) -> None:
        """Add a request."""
        job.caller = self._known(job.caller)
        turn = self._turns.setdefault(job.caller, _Turn(self._clock))
        turn.jobs[job] = None
        self.size += 1
        self._add(turn, job.rows, job.seconds_left)

    def discard(self, job: Job) -> None:
        """Remove a request if it waits."""
        turn = self._turns.get(job.caller)
        if turn and job in turn.jobs:
            self._add(turn, -job.rows_left, -job.seconds_left)
            self._remove(turn, job)

    def take(self, job: Job, rows: int) -> None:
        """Remove rows of a waiting request, and the request with its last row."""
        turn = self._turns[job.caller]
        seconds = rows * job.row_seconds
        turn.start += seconds
        self._add(turn, -rows, -seconds)
        job.taken += rows
        if not job.rows_left:
            self._remove(turn, job)

    def in_turn(self) -> Iterator[Job]:
        """Yield the requests, one of each caller in turn; the queue may be changed meanwhile."""
        turns = sorted(self._turns.values(), key=lambda turn: turn.start)
        if turns:
            self._clock = turns[0].start
        waiting = [iter(tuple(turn.jobs)) for turn in turns]
        while waiting:
            still_waiting = []
            for jobs in waiting:
                if job := next(jobs, None):
                    yield job
                    still_waiting.append(jobs)
            waiting = still_waiting

    def rows_of(self, caller: str) -> int:
        """Return the number of a caller's rows that wait."""
        turn = self._turns.get(self._known(caller))
        return turn.rows if turn else 0

    def seconds_before(self, caller: str | None, seconds: float) -> float:
        """Return how long a request waits for its turn, in expected time of the model.

        Args:
            caller: None: one that has no waiting requests.
            seconds: expected time that the model takes for the request itself.
        """
        own = None if caller is None else self._turns.get(self._known(caller))
        waited = own.seconds if own else 0.0
        # While the caller waits for its own requests, every other one is given as much time.
        others = (turn.seconds for turn in self._turns.values() if turn is not own)
        return waited + sum(min(other, waited + seconds) for other in others)

    def _known(self, caller: str) -> str:
        return caller if caller in self._turns or len(self._turns) < MAX_CALLERS else OTHERS

    def _add(self, turn: _Turn, rows: int, seconds: float) -> None:
        turn.rows += rows
        turn.seconds += seconds
        self.rows += rows

    def _remove(self, turn: _Turn, job: Job) -> None:
        del turn.jobs[job]
        self.size -= 1
        if not turn.jobs:
            del self._turns[job.caller]
