"""What observers see of requests that are over: of one a record, of several their columns."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

from app.errors import RequestError
from app.tensors.datatypes import Array

# The caller of a request that does not say who sent it.
ANONYMOUS = "anonymous"


@dataclass(slots=True)
class RequestRecord:
    """What is known of one request.

    Attributes:
        duration: seconds from its headers to its reply.
        rows: of the request; None where it could not be read.
        inputs: name → array, as the model took them; None where they could not be read, or were not kept.
        outputs: name → array, list or dict, as the model gave them; None where it did not, or likewise.
        queue_duration, infer_duration: see `Result`; NaN where the model did not answer.
        batch_rows: see `Result`; None where the model did not answer.
        leads: see `Result`.
        body_bytes: of the request, once it is inflated.
        arrived: when its whole body was there, in seconds of the monotonic clock; NaN where it never was.
        decoded: when the model's inputs were; likewise.
        inferred: when the model's outputs were; likewise.
        traceparent: as the request had it, which may be anything.
    """

    id: str
    started: float
    route: str
    caller: str = ANONYMOUS
    status: int = 500
    duration: float = 0.0
    rows: int | None = None
    inputs: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    queue_duration: float = math.nan
    infer_duration: float = math.nan
    batch_rows: int | None = None
    is_batch_leader: bool = True
    arrived: float = math.nan
    decoded: float = math.nan
    inferred: float = math.nan
    error: RequestError | None = None
    traceparent: str = ""
    body_bytes: int = 0


class RecordKey(NamedTuple):
    """What requests have in common that are counted and logged alike: see `RequestRecord`."""

    route: str
    status: int
    caller: str
    rows: int | None
    batch_rows: int | None
    is_batch_leader: bool
    error: RequestError | None


class Times(NamedTuple):
    """Times of requests as in `RequestRecord`, shape (requests,) each."""

    started: Array
    duration: Array
    arrived: Array
    decoded: Array
    queue_duration: Array
    infer_duration: Array
    inferred: Array


class Tensors(NamedTuple):
    """What the model took and gave, as in `RequestRecord`."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] | None


_TIMES = Struct(f"{len(Times._fields)}d")


class RecordBatch:
    """Requests in the order in which they ended, and their columns, for those who would not look at each.

    Columns are made when they are first asked for. To pack each request as it ends would take half the
    memory, but more time: from one to the next the processor's caches forget the code.

    Attributes:
        ids: of all.
        times: of all.
        runs: the kinds of requests that follow each other, the place of the first and that after the last.
        traceparents: by the request's place; of those that had one.
        tensors: likewise; of those that they were kept of.
    """

    def __init__(self, records: Sequence[RequestRecord]) -> None:
        self._records = records

    def __iter__(self) -> Iterator[RequestRecord]:
        return iter(self._records)

    @cached_property
    def ids(self) -> Sequence[str]:
        return [record.id for record in self._records]

    @cached_property
    def times(self) -> Times:
        rows = [
            _TIMES.pack(
                record.started,
                record.duration,
                record.arrived,
                record.decoded,
                record.queue_duration,
                record.infer_duration,
                record.inferred,
            )
            for record in self._records
        ]
        return Times(*np.frombuffer(b"".join(rows)).reshape(-1, len(Times._fields)).T)

    @cached_property
    def groups(self) -> Sequence[tuple[RecordKey, int, int]]:
        # Plain tuples, which are made faster than a Kind.
        kinds = (
            (
                record.route,
                record.status,
                record.caller,
                record.rows,
                record.batch_rows,
                record.is_batch_leader,
                record.error,
            )
            for record in self._records
        )
        groups, end = [], 0
        for kind, alike in groupby(kinds):
            begin, end = end, end + len([*alike])
            groups.append((RecordKey(*kind), begin, end))
        return groups

    @cached_property
    def traceparents(self) -> Mapping[int, str]:
        return {place: record.traceparent for place, record in enumerate(self._records) if record.traceparent}

    @cached_property
    def tensors(self) -> Mapping[int, Tensors]:
        return {
            place: Tensors(record.inputs, record.outputs)
            for place, record in enumerate(self._records)
            if record.inputs is not None
        }
