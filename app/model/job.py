"""A request on its way through the model, whole or in slices."""

from collections.abc import Mapping, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Inputs: TypeAlias = Mapping[str, Any]


class Result(NamedTuple):
    """The model's answer to one request.

    Attributes:
        outputs: name → array, list or dict.
        queue_duration: seconds between submission and the start of the inference.
        infer_duration: duration of the inference in seconds; the sum for a request that ran in slices.
        batch_rows: rows of the whole batch, including those of other requests; the request's own rows if it
            ran in slices.
        is_batch_leader: whether the metrics count the batch with this request; true once per batch.
    """

    outputs: Mapping[str, Any]
    queue_duration: float
    infer_duration: float
    batch_rows: int
    is_batch_leader: bool = True


@dataclass(slots=True, eq=False)
class Job:
    """A request that waits for the model.

    Attributes:
        inputs: name → array in the model's dtype and shape.
        rows: size of the batch dimension.
        batch_key: what the requests of a batch have in common; None: it runs alone.
        caller: whose turn it takes.
        deadline: in seconds of the monotonic clock.
        submitted: when it was submitted, on the same clock.
        row_seconds: expected time that the model takes for a row.
        future: of its result; None when it is done or cancelled.
        taken: rows that run or have run.
        done_rows: rows of the slices that have run.
        parts: first row and result of each of these slices.
        is_finished: whether it has an outcome.
    """

    inputs: Inputs
    rows: int
    batch_key: Any
    caller: str
    deadline: float
    submitted: float
    row_seconds: float
    future: "Future[Result] | None"
    taken: int = 0
    done_rows: int = 0
    parts: list[tuple[int, Result]] = field(default_factory=list)
    is_finished: bool = False

    @property
    def rows_left(self) -> int:
        """Number of rows that still wait."""
        return self.rows - self.taken

    @property
    def seconds_left(self) -> float:
        """Expected time that the model takes for these rows."""
        return self.row_seconds * (self.rows - self.taken)

    def add(self, part: "Slice", result: Result) -> bool:
        """Keep the result of a slice; return whether all rows have one."""
        self.done_rows += part.rows
        self.parts.append((part.begin, result))
        return self.done_rows == self.rows

    def joined(self) -> Result:
        """Return the result of a request whose slices have all run."""
        parts = [part for _, part in sorted(self.parts, key=itemgetter(0))]
        outputs = {name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs}
        queue_duration = min(part.queue_duration for part in parts)
        return Result(outputs, queue_duration, sum(part.infer_duration for part in parts), self.rows)


class Slice(NamedTuple):
    """Rows of a request that run together.

    Attributes:
        begin: the first row.
        end: the row after the last one.
    """

    job: Job
    begin: int
    end: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.end - self.begin

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows of the request."""
        return self.rows == self.job.rows

    def inputs(self) -> Inputs:
        """Return the rows' inputs."""
        if self.is_whole:
            return self.job.inputs
        return {name: array[self.begin : self.end] for name, array in self.job.inputs.items()}


def join_inputs(slices: Sequence[Slice]) -> Inputs:
    """Return the inputs of a batch."""
    if len(slices) == 1:
        return slices[0].inputs()
    parts = [each.inputs() for each in slices]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def split_outputs(outputs: Mapping[str, Any], slices: Sequence[Slice]) -> list[Mapping[str, Any]]:
    """Return the outputs of each slice of a batch."""
    if len(slices) == 1:
        return [outputs]
    bounds = np.cumsum([0, *(each.rows for each in slices)]).tolist()
    return [{name: output[low:high] for name, output in outputs.items()} for low, high in pairwise(bounds)]


def batch_key(batched_inputs: Set[str], inputs: Inputs, rows: int) -> Any:
    """Return what the requests of a batch have in common; None if this one cannot share a batch.

    Args:
        batched_inputs: names of the inputs whose first dimension can be a batch.
        rows: size of the batch dimension.
    """
    is_batch = all(name in batched_inputs and len(array) == rows for name, array in inputs.items())
    return row_shapes(inputs) if is_batch else None


def row_shapes(inputs: Inputs) -> tuple[Any, ...]:
    """Return the inputs' names and their shapes without the batch dimension."""
    return tuple((name, inputs[name].shape[1:]) for name in sorted(inputs))
