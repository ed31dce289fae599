"""What observers see of requests that are over: of one a record, of several their columns."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

from app.auth import ANONYMOUS
from app.errors import RequestError
from app.tensors import Array


@dataclass(slots=True)
class Record:
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
    leads: bool = True
    arrived: float = math.nan
    decoded: float = math.nan
    inferred: float = math.nan
    error: RequestError | None = None
    traceparent: str = ""
    body_bytes: int = 0


class Kind(NamedTuple):
    """What requests have in common that are counted and logged alike: see `Record`."""

    route: str
    status: int
    caller: str
    rows: int | None
    batch_rows: int | None
    leads: bool
    error: RequestError | None


class Times(NamedTuple):
    """Times of requests as in `Record`, shape (requests,) each."""

    started: Array
    duration: Array
    arrived: Array
    decoded: Array
    queue_duration: Array
    infer_duration: Array
    inferred: Array


class Tensors(NamedTuple):
    """What the model took and gave, as in `Record`."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] | None


_TIMES = Struct(f"{len(Times._fields)}d")


class Records:
    """Requests in the order in which they ended.

    By columns they take half the memory, which the requests that come meanwhile want too, and are
    counted and logged without a look at each.

    Attributes:
        ids: of all.
        traceparents: by the request's place; of those that had one.
        tensors: likewise; of those that they were kept of.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.ids: list[str] = []
        self.traceparents: dict[int, str] = {}
        self.tensors: dict[int, Tensors] = {}
        self._times: list[bytes] = []
        # Of requests that follow each other, and the place of the first.
        self._kind: Kind | None = None
        self._kinds: list[Kind] = []
        self._begins: list[int] = []
        for record in records:
            self.add(record)
            self.keep_tensors(record)

    def add(self, record: Record) -> None:
        """Takes what is known of a request, but for its tensors."""
        # A plain tuple, which is made faster than a Kind.
        kind = (
            record.route,
            record.status,
            record.caller,
            record.rows,
            record.batch_rows,
            record.leads,
            record.error,
        )
        if kind != self._kind:
            self._kind = Kind(*kind)
            self._kinds.append(self._kind)
            self._begins.append(len(self.ids))
        if record.traceparent:
            self.traceparents[len(self.ids)] = record.traceparent
        self._times.append(
            _TIMES.pack(
                record.started,
                record.duration,
                record.arrived,
                record.decoded,
                record.queue_duration,
                record.infer_duration,
                record.inferred,
            )
        )
        self.ids.append(record.id)

    def keep_tensors(self, record: Record) -> None:
        """Takes the tensors of the request that was taken last."""
        if record.inputs is not None:
            self.tensors[len(self.ids) - 1] = Tensors(record.inputs, record.outputs)

    def __iter__(self) -> Iterator[Record]:
        """Each without its `body_bytes`, for those who look at one after the other."""
        rows = _TIMES.iter_unpack(b"".join(self._times))
        for kind, begin, end in self.runs():
            for place in range(begin, end):
                inputs, outputs = self.tensors.get(place, (None, None))
                yield Record(
                    self.ids[place],
                    **Times(*next(rows))._asdict(),
                    **kind._asdict(),
                    inputs=inputs,
                    outputs=outputs,
                    traceparent=self.traceparents.get(place, ""),
                )

    def runs(self) -> Iterator[tuple[Kind, int, int]]:
        """The kinds of requests that follow each other, the place of the first and that after the last."""
        bounds = pairwise([*self._begins, len(self.ids)])
        return ((kind, begin, end) for kind, (begin, end) in zip(self._kinds, bounds, strict=True))

    @cached_property
    def times(self) -> Times:
        """Of all that were there when this was first asked for."""
        rows = np.frombuffer(b"".join(self._times)).reshape(-1, len(Times._fields))
        return Times(*rows.T)
