"""What changed since training: inputs and outputs compared with the version's `baseline.json`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from model_loader.drafting.drift_limits import (
    EXTREMES,
    LEAST_SHARE_EXCESS,
    MIN_ROWS,
    chance,
    highest_share,
    is_drift,
    limit_z,
    lowest_share,
    psi,
)
from model_loader.package.baseline import MISSING, OUTSIDE, Baseline, Distribution
from monitor.database import Connection, run
from monitor.errors import QueryError

# Enough for a share to be right to 0.3 %.
SAMPLE_ROWS = 100_000
# Parsed at once: a hundred thousand rows of some hundred features would take gigabytes.
FETCH_ROWS = 5000
CHANGED, AS_TRAINED, TOO_FEW = "changed", "as trained", "too few rows"
NON_FINITE = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


@dataclass(frozen=True)
class Change:
    """How a feature or an output differs from the training data.

    Attributes:
        psi: population stability index less what chance gives on average; 0 or more.
        verdict: `changed`, `as trained`, or `too few rows` if chance could explain any difference.
        bins: name, share in training, share found.
        rows: rows that it was calculated from.
    """

    kind: str
    name: str
    psi: float
    verdict: str
    bins: tuple[tuple[str, float, float], ...]
    rows: int


def find_changes(connection: Connection, version: int, baseline: Baseline, where: str) -> list[Change]:
    """Return what differs from the baseline, the largest difference first.

    Of more than SAMPLE_ROWS rows, those with the smallest hash are compared: the same ones each time.

    Args:
        where: SQL condition on the predictions.
    """
    sql = f"""
    SELECT inputs::VARCHAR, outputs::VARCHAR FROM predictions
    WHERE version = {version} AND coalesce(status, 200) = 200 AND {where}
    ORDER BY hash(id, row) LIMIT {SAMPLE_ROWS}"""
    counted = [
        *(_Counted("feature", each) for each in baseline.features),
        *(_Counted("output", each) for each in baseline.outputs),
    ]
    result = run(connection, sql)
    try:
        while found := result.fetchmany(FETCH_ROWS):
            documents = {
                "feature": [json.loads(inputs or "{}") for inputs, _ in found],
                "output": [json.loads(outputs or "{}") for _, outputs in found],
            }
            for each in counted:
                each.add(documents[each.kind])
    except duckdb.Error as exc:
        raise QueryError(str(exc).strip()) from exc
    z = limit_z(len(counted))
    # A feature that is not captured has no values, which is no change.
    changes = [_change(each, baseline.rows, z) for each in counted if each.rows]
    return sorted(changes, key=lambda change: (-change.psi, change.kind, change.name))


class _Counted:
    """Values of a feature or an output, counted by the bins of its distribution.

    Attributes:
        counts: values in each bin, `missing` and `outside`, shape (bins,).
        rows: that have a value.
    """

    def __init__(self, kind: str, expected: Distribution) -> None:
        self.kind, self.expected = kind, expected
        self.counts = np.zeros(len(expected.bins), np.int64)
        self.rows = 0

    def add(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Count the values of some rows."""
        name = self.expected.name
        found = [document[name] for document in documents if name in document]
        values = [*_flatten(found)]
        count = _category_counts if self.expected.categories else _edge_counts
        self.counts += count(self.expected, values)
        self.rows += len(found)


def _change(found: _Counted, baseline_rows: int | None, z: float) -> Change:
    expected, counts = found.expected, found.counts
    expected_shares = np.array(expected.expected)
    shares = counts / max(1, counts.sum())
    bins = zip(expected.bins, expected_shares.tolist(), shares.tolist(), strict=True)
    # Values of one row depend on each other: they count as no more than the rows.
    counted = counts * min(1.0, found.rows / max(1, counts.sum()))
    inner, rows = counted[:-2], float(counted[:-2].sum())
    trained = np.array(expected.shares) * (baseline_rows or 0) * (1 - expected.missing - expected.outside)
    if not baseline_rows or rows < MIN_ROWS:
        excess, verdict = 0.0, TOO_FEW
    else:
        index = psi(inner, trained)
        excess = max(0.0, float(index - (len(inner) - 1) * chance(rows, trained.sum())))
        changed = is_drift(index, np.array(rows), float(trained.sum()), len(inner), z)
        others = _is_beyond(counted, expected, baseline_rows, z)
        verdict = CHANGED if bool(changed) or others else AS_TRAINED
    return Change(found.kind, expected.name, excess, verdict, tuple(bins), found.rows)


def _is_beyond(counted: Any, expected: Distribution, baseline_rows: int, z: float) -> bool:
    """Return whether more values are missing or outside than in training, beyond chance."""
    for count, share, extremes in (
        (counted[-2], expected.missing, 0),
        (counted[-1], expected.outside, EXTREMES),
    ):
        lowest = lowest_share(count, counted.sum(), z)
        highest = highest_share(share * baseline_rows + extremes, baseline_rows, z)
        if float(lowest - highest) > LEAST_SHARE_EXCESS:
            return True
    return False


def _edge_counts(expected: Distribution, values: Sequence[Any]) -> Any:
    """Return the number of values in each bin, `missing` and `outside`."""
    numbers = np.array([_number(value) for value in values], np.float64)
    edges = np.array(expected.edges)
    index = np.searchsorted(edges, numbers, side="right") - 1
    index[numbers == edges[-1]] = len(edges) - 2
    size = len(expected.bins)
    index[(index < 0) | (index > len(edges) - 2)] = size - 1
    index[np.isnan(numbers)] = size - 2
    return np.bincount(index, minlength=size)


def _category_counts(expected: Distribution, values: Sequence[Any]) -> Any:
    position = {value: index for index, value in enumerate(expected.categories)}
    names = {name: index for index, name in enumerate(expected.bins)}
    index: list[int] = [
        names[MISSING] if value is None or value == "NaN" else position.get(value, names[OUTSIDE])
        for value in values
    ]
    return np.bincount(np.array(index, np.int64), minlength=len(names))


def _flatten(values: Sequence[Any]) -> Iterator[Any]:
    """Yield the values of rows that may have several, in lists or by name."""
    for value in values:
        if isinstance(value, list):
            yield from _flatten(value)
        elif isinstance(value, dict):
            yield from _flatten([*value.values()])
        else:
            yield value


def _number(value: Any) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, str):
        # A hash, or a text where the baseline has numbers, is in none of the bins.
        return NON_FINITE.get(value, float("inf"))
    return float(value)
