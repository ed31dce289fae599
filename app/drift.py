"""Drift: into which bins of the training data's distribution the values of requests and answers fall."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from app.errors import ModelError
from app.model import Model
from app.tensors import Array
from model_loader.baseline import Distribution, read_baseline
from model_loader.errors import PackageError

Counts = npt.NDArray[np.int64]


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
    """

    def __init__(self, model: Model) -> None:
        """
        Raises:
            ModelError: the baseline is not one, or not the model's.
        """
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
            Bin(part.kind, item.name, label, share)
            for part in self._parts
            for item in part.distributions
            for label, share in zip(item.bins, (*item.shares, 0.0, 0.0), strict=True)
        )

    def pick(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> list[Any]:
        """What will be counted of one request and its answer; each is None where a request left it out."""
        return [(inputs if part.kind == "feature" else outputs).get(part.source) for part in self._parts]

    def count(self, picked: Sequence[Sequence[Any]]) -> Counts:
        """How many values fall into each of the bins.

        Args:
            picked: of each request.
        """
        counts = [
            part.count([value for value in values if value is not None])
            for part, values in zip(self._parts, zip(*picked, strict=True), strict=True)
        ]
        return np.concatenate(counts)


@dataclass(frozen=True)
class _Part:
    """Distributions that are counted together: of columns of one array, or one of all its values."""

    kind: str
    source: str
    distributions: Sequence[Distribution]
    columns: Sequence[int] | None
    width: int
    edges: Array
    slots: Array

    def count(self, values: Sequence[Any]) -> Counts:
        """How many fall into each of the distributions' bins."""
        counts = np.zeros(self.slots.max() + 1, np.int64)
        if not values:
            return counts
        if self.columns is None:
            table = _flat(values)[:, None]
        else:
            # A model may take any width; its columns have names in one of them.
            rows = [value for value in values if value.shape[1] == self.width]
            if not rows:
                return counts
            table = np.concatenate(rows)[:, self.columns]
        if categories := self.distributions[0].categories:
            return _categories(table, categories)
        # Edge by edge, all columns of all rows at once: there are a dozen edges, whatever comes.
        places = np.zeros(table.shape, np.intp)
        for edge in self.edges.T:
            places += table >= edge
        places[np.isnan(table)] = self.edges.shape[1] + 1
        slots = self.slots[np.arange(len(self.edges)), places].ravel()
        return np.bincount(slots, minlength=len(counts))


def _parts(
    kind: str, distributions: Sequence[Distribution], model: Model, columns: Sequence[str]
) -> Iterator[_Part]:
    """The columns of numbers as one, since most of the work is the same for one value as for a thousand."""
    required = next((name for name, spec in model.inputs.items() if not spec.optional), "")
    table = [item for item in distributions if item.name in columns and item.edges]
    if table:
        yield _part(kind, required, table, [columns.index(item.name) for item in table], len(columns))
    specs = model.inputs if kind == "feature" else model.outputs
    for item in distributions:
        if item in table:
            continue
        if item.name in columns:
            source, place = required, [columns.index(item.name)]
        else:
            source, place = item.name, None
        if item.edges and "STRING" in specs[source].datatype:
            raise ModelError(f"{model.package}: the baseline has edges for {kind} '{item.name}', a string")
        yield _part(kind, source, [item], place, len(columns))


def _part(
    kind: str, source: str, distributions: Sequence[Distribution], columns: Sequence[int] | None, width: int
) -> _Part:
    """A value's place, the number of edges up to it, is looked up in `slots`, row by row of `edges`."""
    most = max(len(item.edges) for item in distributions)
    edges = np.full((len(distributions), most), np.inf)
    slots = np.zeros((len(distributions), most + 2), np.intp)
    begin = 0
    for row, item in enumerate(distributions):
        ranges, missing, outside = max(0, len(item.edges) - 1), len(item.bins) - 2, len(item.bins) - 1
        edges[row, : len(item.edges)] = item.edges
        if item.edges:  # the last bin has its upper edge too
            edges[row, ranges] = np.nextafter(item.edges[-1], np.inf)
        slots[row] = begin + outside
        slots[row, 1 : ranges + 1] = begin + np.arange(ranges)
        slots[row, most + 1] = begin + missing
        begin += len(item.bins)
    return _Part(kind, source, distributions, columns, width, edges, slots)


def _categories(values: Array, categories: Sequence[Any]) -> Counts:
    flat = values.ravel()
    counts = [int((flat == category).sum()) for category in categories]
    missing = int((flat != flat).sum())  # NaN alone differs from itself
    return np.array([*counts, missing, len(flat) - sum(counts) - missing], np.int64)


def _flat(values: Sequence[Any]) -> Array:
    """All numbers or strings in tensors, or in sequences or maps: what they are is the same for all."""
    if not values:
        return np.empty(0)
    if isinstance(values[0], dict):
        return np.array([number for value in values for number in value.values()])
    if isinstance(values[0], list):
        return _flat([item for value in values for item in value])
    return np.concatenate(values, axis=None)
