"""Drift: into which bins of the training data's distribution the values of requests and answers fall."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from app.errors import ModelError
from app.model.onnx_model import Model
from app.tensors.datatypes import DATATYPES, Array
from model_loader.package import PackageError
from model_loader.package.baseline import Distribution, read_baseline

Counts = npt.NDArray[np.int64]

# Of one request: counting more would keep the others waiting.
MAX_VALUES = 2**16
# Of a value whose size is not known, a guess.
NUMBER_BYTES = 8


class Bin(NamedTuple):
    """A bin, and what the baseline expects of it.

    Attributes:
        kind: `feature` or `output`.
        name: of the feature or output.
        label: of the bin.
        share: of the values, from 0 to 1.
    """

    kind: str
    name: str
    label: str
    share: float


class Drift:
    """Counts values by the bins of a model's baseline.

    Attributes:
        bins: all of them, in the order of the counts; none where the model has no baseline.
        held_bytes: the size of what was put by.
    """

    def __init__(self, model: Model) -> None:
        """
        Raises:
            ModelError: the baseline is not one, or not the model's.
        """
        self.pending_bytes = 0
        columns = model.package.manifest.features or ()
        names = model.inputs.keys() | set(columns)
        try:
            baseline = read_baseline(model.package, names, model.outputs.keys())
        except PackageError as exc:
            raise ModelError(str(exc)) from exc
        self._parts = [
            *_parts("feature", baseline.features if baseline else (), model, columns),
            *_parts("output", baseline.outputs if baseline else (), model, ()),
        ]
        self.bins = tuple(
            Bin("feature" if part.is_feature else "output", item.name, label, share)
            for part in self._parts
            for item in part.distributions
            for label, share in zip(item.bins, (*item.shares, 0.0, 0.0), strict=True)
        )

    def check_baseline(self, model: Model, requests: Sequence[Mapping[str, Any]]) -> None:
        """Counts what the model makes of some requests, and forgets it.

        Raises:
            ModelError: the baseline's bins are not for such values.
        """
        for inputs in requests:
            try:
                self.add([inputs], [model.infer(inputs)])
                self.count()
            except (TypeError, ValueError, AttributeError) as exc:
                raise ModelError(f"{model.package}: values cannot be counted by the baseline: {exc}") from exc

    def add(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Puts by what there is to count in the model's inputs and outputs of some requests.

        Args:
            inputs: name → array, list or dict, of each request.
            outputs: likewise.
        """
        for part in self._parts:
            self.pending_bytes += part.add(inputs if part.is_feature else outputs)

    def count(self) -> Counts:
        """How many of the values put by fall into each of the bins."""
        self.pending_bytes = 0
        return np.concatenate([part.count() for part in self._parts] or [np.zeros(0, np.int64)])


@dataclass
class _ColumnGroup:
    """Distributions that are counted together: of columns of one array, or one of all its values.

    Attributes:
        columns: of the array, one for each distribution; None where there is one, of all values.
        width: of an array whose columns have names.
        is_free: whether there may be arrays of another width.
        dtype: of the array; None where it holds strings, or is a sequence or a map.
        edges: one row for each distribution, and NaN at its end.
        slots: the bin of values by the number of edges up to them, NaN among those, one row for each
            distribution.
        held: the bytes of arrays that wait; they say all, and are dropped faster than the arrays.
        others: what waits and is none.
    """

    is_feature: bool
    source: str
    distributions: Sequence[Distribution]
    columns: Sequence[int] | None
    width: int
    is_free: bool
    dtype: np.dtype[Any] | None
    edges: Array
    bin_index: Array
    pending: bytearray = field(default_factory=bytearray)
    others: list[Any] = field(default_factory=list)

    def add(self, named: Sequence[Mapping[str, Any]]) -> int:
        """Puts by the values of some requests, by name; returns their size in bytes."""
        source = self.source
        if self.dtype is None:
            others = [value for values in named if (value := values.get(source)) is not None]
            self.others += others
            return NUMBER_BYTES * len(others)
        try:
            values = [*map(itemgetter(source), named)]
        except KeyError:  # not all have an input with a default
            values = [one[source] for one in named if source in one]
        # A model may take any width; its columns have names in one of them.
        if self.is_free:
            values = [value for value in values if value.shape[1] == self.width]
        data = _joined(values)
        if len(data) > MAX_VALUES * self.dtype.itemsize:
            data = b"".join([self._share(value) for value in values])
        self.pending += data
        return len(data)

    def _share(self, value: Array) -> bytes:
        """An even share of a large array's rows, or of its values."""
        rows = value if self.columns is not None else value.reshape(-1)
        return rows[:: max(1, -(-rows.size // MAX_VALUES))].tobytes()

    def count(self) -> Counts:
        """How many of the values put by fall into each of the distributions' bins."""
        pending, others, self.pending, self.others = self.pending, self.others, bytearray(), []
        values = _flat(others) if self.dtype is None else np.frombuffer(pending, self.dtype)
        columns = values[None] if self.columns is None else values.reshape(-1, self.width).T[self.columns]
        if categories := self.distributions[0].categories:
            return _categories(columns, categories)
        # In order, NaN at the end, a dozen edges tell how many values lie between them.
        ordered = np.sort(columns.astype(self.edges.dtype))
        up_to = np.zeros((len(columns), self.edges.shape[1] + 2), np.intp)
        up_to[:, -1] = columns.shape[1]
        for row, column, edges in zip(up_to, ordered, self.edges, strict=True):
            row[1:-1] = column.searchsorted(edges)
        return np.bincount(self.bin_index.ravel(), np.diff(up_to).ravel()).astype(np.int64)


def _joined(arrays: Sequence[Any]) -> bytes:
    """The bytes of arrays, of each in its order."""
    try:
        return b"".join(arrays)
    except TypeError:  # one is not contiguous, or of a type that only NumPy knows
        return b"".join([array.tobytes() for array in arrays])


def _parts(
    kind: str, distributions: Sequence[Distribution], model: Model, columns: Sequence[str]
) -> Iterator[_ColumnGroup]:
    """The columns of numbers as one, since most of the work is the same for one value as for a thousand."""
    specs = model.inputs if kind == "feature" else model.outputs
    required = next((name for name, spec in model.inputs.items() if not spec.optional), "")
    table = [item for item in distributions if item.name in columns and item.edges]
    groups = [table] if table else []
    for group in (*groups, *([item] for item in distributions if item not in table)):
        is_wide = group[0].name in columns
        spec = specs[required if is_wide else group[0].name]
        # Of a map, the type of its values.
        if group[0].edges and spec.datatype.rstrip(")").rpartition("(")[2].rpartition(", ")[2] == "STRING":
            raise ModelError(
                f"{model.package}: the baseline has edges for {kind} '{group[0].name}', a string"
            )
        dtype = DATATYPES.get(spec.datatype)
        edges, bin_index = _places(group)
        if dtype == np.float32:
            edges = _rounded_up(edges)
        yield _ColumnGroup(
            is_feature=kind == "feature",
            source=spec.name,
            distributions=group,
            columns=[columns.index(item.name) for item in group] if is_wide else None,
            width=len(columns),
            is_free=is_wide and not (spec.shape and isinstance(spec.shape[1], int)),
            dtype=None if dtype is None or dtype.kind == "O" else dtype,
            edges=edges,
            bin_index=bin_index,
        )


def _places(distributions: Sequence[Distribution]) -> tuple[Array, Array]:
    """Edges, and the bin of a value by the number of edges up to it; see `_ColumnGroup`."""
    most = max(len(item.edges) for item in distributions)
    edges = np.full((len(distributions), most + 1), np.inf)
    edges[:, -1] = np.nan
    bin_index = np.zeros((len(distributions), most + 2), np.intp)
    begin = 0
    for row, item in enumerate(distributions):
        ranges, missing, outside = max(0, len(item.edges) - 1), len(item.bins) - 2, len(item.bins) - 1
        edges[row, : len(item.edges)] = item.edges
        if item.edges:  # the last bin has its upper edge too
            edges[row, ranges] = np.nextafter(item.edges[-1], np.inf)
        bin_index[row] = begin + outside
        bin_index[row, 1 : ranges + 1] = begin + np.arange(ranges)
        bin_index[row, most + 1] = begin + missing
        begin += len(item.bins)
    return edges, bin_index


def _rounded_up(edges: Array) -> Array:
    """The least float32 of at least each edge: the same float32 values, which sort faster, lie below it."""
    with np.errstate(over="ignore"):
        rounded = edges.astype(np.float32)
    return np.where(rounded < edges, np.nextafter(rounded, np.float32(np.inf)), rounded)


def _categories(values: Array, categories: Sequence[Any]) -> Counts:
    flat = values.ravel()
    missing = np.asarray(flat != flat)  # NaN alone differs from itself
    counts, known = [], missing
    for category in categories:
        same = (flat == category) & ~known
        known = known | same
        counts.append(same.sum())
    return np.array([*counts, missing.sum(), (~known).sum()], np.int64)


def _flat(values: Sequence[Any]) -> Array:
    """All numbers or strings in tensors, or in sequences or maps: what they are is the same for all."""
    if not values:
        return np.empty(0)
    if isinstance(values[0], dict):
        return np.array([number for value in values for number in value.values()])
    if isinstance(values[0], list):
        return _flat([item for value in values for item in value])
    return np.concatenate(values, axis=None)
