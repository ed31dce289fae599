"""How the outputs of two models to the same rows differ."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model_loader import mean_intervals

# Two numbers are the same answer if they differ by no more than |then| * RTOL + ATOL, the rounding of FP32.
RTOL = 1e-5
ATOL = 1e-6
ANY = "any"
QUANTILES = (0.05, 0.5, 0.95)
MAX_LEAVES = 20
MAX_VALUES = 20


@dataclass(frozen=True)
class Numbers:
    """The distribution of a number."""

    mean: float
    std: float
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Distribution:
    """What an output, or an element of it, was then and is now.

    Attributes:
        name: `probabilities[0]`, for an element.
        then, now: of a number, its figures; otherwise value → rows.
    """

    name: str
    then: Numbers | Mapping[str, int]
    now: Numbers | Mapping[str, int]


@dataclass(frozen=True)
class OutputChange:
    """How an output changes.

    Attributes:
        output: `any` for the rows in which any output differs.
        share: of the rows that differ, with its interval of 95 %.
        median, p95, largest: of the largest absolute difference of a number in each row; None without one.
    """

    output: str
    rows: int
    differing: int
    share: float
    low: float | None
    high: float | None
    median: float | None = None
    p95: float | None = None
    largest: float | None = None
    distributions: tuple[Distribution, ...] = ()


@dataclass
class _Found:
    """What is known of an output so far."""

    rows: int = 0
    differing: int = 0
    sizes: list[float] = field(default_factory=list)
    then: dict[str, list[Any]] = field(default_factory=dict)
    now: dict[str, list[Any]] = field(default_factory=dict)


class OutputChanges:
    """Collects the differences row by row."""

    def __init__(self) -> None:
        self._outputs: dict[str, _Found] = {ANY: _Found()}

    def add(self, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
        """Add a row, and return the outputs that differ; `any` is one of them if there is another.

        Args:
            then, now: output → value in JSON.
        """
        differing = [name for name in {**then, **now} if self._add(name, then.get(name), now.get(name))]
        found = self._outputs[ANY]
        found.rows += 1
        if differing:
            found.differing += 1
            differing.append(ANY)
        return differing

    def _add(self, name: str, then: Any, now: Any) -> bool:
        found = self._outputs.setdefault(name, _Found())
        old, new = dict(_leaves(name, then)), dict(_leaves(name, now))
        for values, leaves in ((found.then, old), (found.now, new)):
            for leaf, value in [*leaves.items()][:MAX_LEAVES]:
                values.setdefault(leaf, []).append(value)
        differs = old.keys() != new.keys() or any(not is_same(old[leaf], new[leaf]) for leaf in old)
        sizes = [
            abs(new[leaf] - old[leaf])
            for leaf in old.keys() & new.keys()
            if isinstance(old[leaf], float) and isinstance(new[leaf], float)
        ]
        if sizes:
            found.sizes.append(max(sizes))
        found.rows += 1
        found.differing += differs
        return differs

    def result(self) -> Iterator[OutputChange]:
        """Yield what differs, `any` output first."""
        for name, found in self._outputs.items():
            share = found.differing / found.rows if found.rows else 0.0
            low, high = mean_intervals.wilson(found.differing, found.rows)
            median, p95, largest = _sizes(found.sizes)
            distributions = tuple(
                Distribution(leaf, _distribution(found.then[leaf]), _distribution(found.now[leaf]))
                for leaf in found.then
                if leaf in found.now
            )
            yield OutputChange(
                name, found.rows, found.differing, share, low, high, median, p95, largest, distributions
            )


def is_same(then: Any, now: Any) -> bool:
    """Return whether two values of an output are the same answer: numbers within rounding, others equal."""
    if isinstance(then, float) and isinstance(now, float):
        return math.isclose(then, now, rel_tol=0.0, abs_tol=abs(then) * RTOL + ATOL)
    return bool(then == now)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each element."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(f"{name}[{index}]", item)
    else:
        yield name, value


def _sizes(sizes: list[float]) -> tuple[float | None, float | None, float | None]:
    if not sizes:
        return None, None, None
    median, p95 = np.quantile(sizes, (0.5, 0.95))
    return float(median), float(p95), max(sizes)


def _distribution(values: list[Any]) -> Numbers | dict[str, int]:
    numbers = [value for value in values if isinstance(value, float)]
    if not numbers:
        return {str(value): count for value, count in Counter(values).most_common(MAX_VALUES)}
    low, median, high = np.quantile(numbers, QUANTILES)
    mean, std = float(np.mean(numbers)), float(np.std(numbers))
    return Numbers(mean, std, float(low), float(median), float(high))
