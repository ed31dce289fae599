"""Counts of values by the bins of a model's baseline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from app.errors import ModelError
from app.model.onnx_model import Model
from app.tensors.datatypes import DATATYPES, Array
from model_loader.package import PackageError
from model_loader.package.baseline import Distribution, read_baseline
from model_loader.package.schema import read_schema

Counts = npt.NDArray[np.int64]

# Limit for one request: counting more would delay the others.
MAX_VALUES = 2**16


class Bin(NamedTuple):
    """A bin of the baseline.

    Attributes:
        kind: `feature` or `output`.
        name: of the feature or output.
        label: of the bin.
        share: expected share of the values, from 0 to 1.
    """

    kind: str
    name: str
    label: str
    share: float


class BinCounter:
    """Counts a model's inputs and outputs by the bins of its baseline, unless the schema withholds them.

    Attributes:
        bins: all bins, in the order of the counts; none if the model has no baseline.
        rows: of the training data; None if the model has no baseline, or the baseline does not say.
    """

    def __init__(self, model: Model) -> None:
        """
        Raises:
            ModelError: the baseline is malformed, or does not fit the model.
        """
        columns = model.package.manifest.features or ()
        names = model.inputs.keys() | set(columns)
        try:
            baseline = read_baseline(model.package, names, model.outputs.keys())
            if baseline:
                baseline = baseline.without_withheld(read_schema(model.package))
        except PackageError as exc:
            raise ModelError(str(exc)) from exc
        self.rows = baseline.rows if baseline else None
        self._groups = [
            *_column_groups("feature", baseline.features if baseline else (), model, columns),
            *_column_groups("output", baseline.outputs if baseline else (), model, ()),
        ]
        self.bins = tuple(
            Bin("feature" if group.is_feature else "output", item.name, label, share)
            for group in self._groups
            for item in group.distributions
            for label, share in zip(item.bins, item.expected, strict=True)
        )

    def check_baseline(self, model: Model, requests: Sequence[Mapping[str, Any]]) -> None:
        """Check that the model's outputs for some requests can be counted.

        Args:
            requests: inputs of the model, name → array.

        Raises:
            ModelError: the baseline's bins are not for such values.
        """
        for inputs in requests:
            try:
                self.count([inputs], [model.infer(inputs)])
            except (TypeError, ValueError, AttributeError) as exc:
                raise ModelError(f"{model.package}: values cannot be counted by the baseline: {exc}") from exc

    def count(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> Counts:
        """Return how many values of some requests fall into each bin.

        Args:
            inputs: of each request, name → array, list or dict.
            outputs: of the model for each request, name → array, list or dict.

        Returns:
            shape (bins,)
        """
        counts = [group.count(inputs if group.is_feature else outputs) for group in self._groups]
        return np.concatenate(counts or [np.zeros(0, np.int64)])


@dataclass(frozen=True)
class _ColumnGroup:
    """Distributions that are counted together: of columns of one array, or one of all its values.

    Attributes:
        columns: indices of the array's columns, one for each distribution; None for one of all values.
        width: number of columns of an array whose columns have names.
        has_free_width: whether the model takes arrays of another width too; these are not counted.
        dtype: of the array; None for strings, sequences and maps.
        edges: shape (distributions, edges + 1), ascending; the last one is NaN.
        bin_index: shape (distributions, edges + 2); maps the number of edges ≤ value to the bin's index. The
            last column is NaN.
    """

    is_feature: bool
    source: str
    distributions: Sequence[Distribution]
    columns: Sequence[int] | None
    width: int
    has_free_width: bool
    dtype: np.dtype[Any] | None
    edges: Array
    bin_index: Array

    def count(self, named: Sequence[Mapping[str, Any]]) -> Counts:
        """Return how many values fall into each of the distributions' bins.

        Args:
            named: of each request, name → value; inputs with a default may be absent.
        """
        values = [each[self.source] for each in named if each.get(self.source) is not None]
        if self.has_free_width:
            values = [value for value in values if value.shape[1] == self.width]
        if self.dtype is None:
            columns = _flatten(values)[None]
        elif self.columns is None:
            columns = self._joined([self._sample(value.reshape(-1)) for value in values])[None]
        else:
            rows = self._joined([self._sample(value) for value in values])
            columns = rows.reshape(-1, self.width).T[self.columns]
        if categories := self.distributions[0].categories:
            return _count_categories(columns, categories)
        # In sorted values, NaN at the end, the positions of a dozen edges give the counts between them.
        ordered = np.sort(columns.astype(self.edges.dtype))
        cumulative = np.zeros((len(columns), self.edges.shape[1] + 2), np.intp)
        cumulative[:, -1] = columns.shape[1]
        for row, column, edges in zip(cumulative, ordered, self.edges, strict=True):
            row[1:-1] = column.searchsorted(edges)
        return np.bincount(self.bin_index.ravel(), np.diff(cumulative).ravel()).astype(np.int64)

    def _joined(self, values: Sequence[Array]) -> Array:
        return np.concatenate(values, dtype=self.dtype) if values else np.empty(0, self.dtype)

    @staticmethod
    def _sample(rows: Array) -> Array:
        """Return evenly spaced rows, or values, of a large array."""
        return rows[:: max(1, -(-rows.size // MAX_VALUES))]


def _column_groups(
    kind: str, distributions: Sequence[Distribution], model: Model, columns: Sequence[str]
) -> Iterator[_ColumnGroup]:
    """Group the columns of numbers, since most of the work is the same for one column as for a hundred."""
    specs = model.inputs if kind == "feature" else model.outputs
    required = next((name for name, spec in model.inputs.items() if not spec.optional), "")
    table = [item for item in distributions if item.name in columns and item.edges]
    groups = [table] if table else []
    for group in (*groups, *([item] for item in distributions if item not in table)):
        is_wide = group[0].name in columns
        spec = specs[required if is_wide else group[0].name]
        # For a map, the type of its values counts.
        if group[0].edges and spec.datatype.rstrip(")").rpartition("(")[2].rpartition(", ")[2] == "STRING":
            raise ModelError(
                f"{model.package}: the baseline has edges for {kind} '{group[0].name}', a string"
            )
        dtype = DATATYPES.get(spec.datatype)
        edges, bin_index = _bin_indices(group)
        if dtype == np.float32:
            edges = _rounded_up(edges)
        yield _ColumnGroup(
            is_feature=kind == "feature",
            source=spec.name,
            distributions=group,
            columns=[columns.index(item.name) for item in group] if is_wide else None,
            width=len(columns),
            has_free_width=is_wide and not (spec.shape and isinstance(spec.shape[1], int)),
            dtype=None if dtype is None or dtype.kind == "O" else dtype,
            edges=edges,
            bin_index=bin_index,
        )


def _bin_indices(distributions: Sequence[Distribution]) -> tuple[Array, Array]:
    """Return `edges` and `bin_index` of a `_ColumnGroup`."""
    most = max(len(item.edges) for item in distributions)
    edges = np.full((len(distributions), most + 1), np.inf)
    edges[:, -1] = np.nan
    bin_index = np.zeros((len(distributions), most + 2), np.intp)
    begin = 0
    for row, item in enumerate(distributions):
        ranges, missing, outside = max(0, len(item.edges) - 1), len(item.bins) - 2, len(item.bins) - 1
        edges[row, : len(item.edges)] = item.edges
        if item.edges:  # the last bin includes its upper edge
            edges[row, ranges] = np.nextafter(item.edges[-1], np.inf)
        bin_index[row] = begin + outside
        bin_index[row, 1 : ranges + 1] = begin + np.arange(ranges)
        bin_index[row, most + 1] = begin + missing
        begin += len(item.bins)
    return edges, bin_index


def _rounded_up(edges: Array) -> Array:
    """Return the least float32 ≥ each edge: the same float32 values lie below it, and these sort faster."""
    with np.errstate(over="ignore"):
        rounded = edges.astype(np.float32)
    return np.where(rounded < edges, np.nextafter(rounded, np.float32(np.inf)), rounded)


def _count_categories(values: Array, categories: Sequence[Any]) -> Counts:
    flat = values.ravel()
    missing = np.asarray(flat != flat)  # NaN alone differs from itself
    counts, known = [], missing
    for category in categories:
        same = (flat == category) & ~known
        known = known | same
        counts.append(same.sum())
    return np.array([*counts, missing.sum(), (~known).sum()], np.int64)


def _flatten(values: Sequence[Any]) -> Array:
    """Return all numbers or strings of tensors, sequences or maps; the values are of one kind."""
    if not values:
        return np.empty(0)
    if isinstance(values[0], dict):
        return np.array([number for value in values for number in value.values()])
    if isinstance(values[0], list):
        return _flatten([item for value in values for item in value])
    return np.concatenate(values, axis=None)
