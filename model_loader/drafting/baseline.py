"""The distribution of the data in bins, which the service measures drift against.

The format is described in `model_loader.package.baseline`, which reads it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.drift_limits import LARGEST_SHIFT, detectable_shift
from model_loader.drafting.session import Output
from model_loader.package import SCHEMA_FILE
from model_loader.package.baseline import MAX_BINS, MAX_LABEL_CHARACTERS, MISSING, OUTSIDE
from model_loader.package.schema import Schema, withheld

QUANTILES = np.linspace(0, 1, 11)
MAX_CATEGORIES = 50
# With a baseline that finds only larger shifts than this, in standard deviations, the draft says so.
LARGE_SHIFT = 0.5


def make_baseline(
    fields: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, Output],
    labels: Mapping[str, Sequence[Any]],
    probabilities: str | None,
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the content of `baseline.json`, or None if there is nothing to compare, and notes on it.

    The notes say what was left out, and what drift a small baseline cannot find.

    Args:
        fields: name of a feature or input → its values for all rows.
        outputs: name → values for all rows.
        labels: name of an output of labels → its possible labels.
        probabilities: the output that has numbers from 0 to 1.
    """
    rows = len(next(iter(fields.values())))
    features = {name: bins for name, values in fields.items() if (bins := _bins(values))}
    predictions: dict[str, Any] = {}
    for name, value in outputs.items():
        if not isinstance(value, np.ndarray):
            continue
        ends = (0.0, 1.0) if name == probabilities else None
        bins = category_bins(value, labels[name]) if labels.get(name) else _bins(value, ends)
        if bins:
            predictions[name] = bins
    left_out = [name for name in fields if name not in features]
    total = 0
    for name, bins in [*predictions.items(), *features.items()]:
        total += len(bins["shares"]) + 2
        if total > MAX_BINS:
            features.pop(name, None)
            left_out.append(name)
    notes: tuple[str, ...] = (
        (f"not in the baseline, because there are no bins for them: {_preview(left_out)}",)
        if left_out
        else ()
    )
    if not features and not predictions:
        return None, notes
    notes += _power_notes(rows, len(features) + len(predictions))
    return {"rows": rows, "features": features, "outputs": predictions}, notes


def leave_out_withheld(
    baseline: Mapping[str, Any] | None, schema: Schema
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return a baseline without what the schema withholds, and notes on it: a bin is a value of the data."""
    if baseline is None:
        return None, ()
    hidden = {"features": withheld(schema.features), "outputs": withheld(schema.outputs)}
    kept = {
        kind: {name: bins for name, bins in baseline[kind].items() if name not in names}
        for kind, names in hidden.items()
    }
    left_out = [name for kind, names in hidden.items() for name in baseline[kind] if name in names]
    notes: tuple[str, ...] = ()
    if left_out:
        notes = (f"not in the baseline, because {SCHEMA_FILE} withholds them: {_preview(left_out)}",)
    return ({**baseline, **kept} if any(kept.values()) else None), notes


def _power_notes(rows: int, distributions: int) -> tuple[str, ...]:
    """Return a sentence for a baseline that finds only large shifts."""
    shift = detectable_shift(rows, distributions)
    if shift is not None and shift <= LARGE_SHIFT:
        return ()
    found = (
        f"finds no shift of {LARGEST_SHIFT:g} standard deviations"
        if shift is None
        else f"finds shifts from {shift:.2f} standard deviations on, not smaller ones,"
    )
    return (
        f"a small baseline: with {rows} rows, drift {found} in an hour at one request per second; "
        "docs/models.md has a table",
    )


def numeric_bins(
    values: NDArray[np.float32], ends: tuple[float, float] | None = None
) -> dict[str, list[float]]:
    """Return bins with about a tenth of `values` each, or fewer bins if many values are equal.

    Args:
        values: of any shape, in the unit of the feature or output, with at least two different values.
        ends: the first and last edge, if the possible range is larger; default: the extremes of `values`.

    Returns:
        `edges` and `shares`. The edges are float32 numbers, so that comparisons in float32 and in float64
        give the same bin.
    """
    # Without interpolation, every edge is one of the values, so it is a float32 number.
    edges = np.unique(np.quantile(values, QUANTILES, method="inverted_cdf"))
    if ends is not None:
        edges[[0, -1]] = ends
    counts, _ = np.histogram(values, edges)
    return {"edges": edges.astype(float).tolist(), "shares": (counts / values.size).tolist()}


def category_bins(values: NDArray[Any], categories: Sequence[Any]) -> dict[str, list[Any]]:
    """Return a bin for each of `categories`, with its share of `values`."""
    shares = [np.count_nonzero(values == category) / values.size for category in categories]
    return {"categories": list(categories), "shares": shares}


def _bins(values: NDArray[Any], ends: tuple[float, float] | None = None) -> dict[str, Any] | None:
    """Return the bins of any values that are present; None if there are none, or all values are the same."""
    if values.dtype.kind in "OUb":
        counts = Counter(values.ravel().tolist()).most_common(MAX_CATEGORIES)
        total = sum(count for _, count in counts)
        names = [str(value) for value, _ in counts]
        if not names or {MISSING, OUTSIDE} & {*names} or max(map(len, names)) > MAX_LABEL_CHARACTERS:
            return None
        # A column of texts that are all different has no distribution to compare.
        if len(counts) == MAX_CATEGORIES and counts[0][1] == 1:
            return None
        return {
            "categories": [value for value, _ in counts],
            "shares": [count / total for _, count in counts],
            **_shares(outside=1 - total / values.size),
        }
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    others = _shares(
        missing=np.count_nonzero(np.isnan(numbers)) / max(1, numbers.size),
        outside=np.count_nonzero(np.isinf(numbers)) / max(1, numbers.size),
    )
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size or numbers.min() == numbers.max():
        return None
    bins = numeric_bins(numbers, ends)
    # With given ends, the only inner edge of two different values may be one of them.
    if not np.all(np.diff(bins["edges"]) > 0) or abs(sum(bins["shares"]) - 1) >= 1e-6:
        return None
    return {**bins, **others}


def _shares(**shares: float) -> dict[str, Any]:
    """Return the shares that are not 0, the default of a baseline."""
    return {name: share for name, share in shares.items() if share}


def _preview(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
