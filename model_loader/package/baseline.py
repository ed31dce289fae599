"""`baseline.json`: the distribution of the training data in bins, the reference for drift.

    {"rows": 133,
     "features": {"alcohol": {"edges": [11.03, …, 14.83], "shares": [0.1, …]}, …},
     "outputs": {"label": {"categories": [0, 1, 2], "shares": [0.33, …], "missing": 0, "outside": 0.01}, …}}

A feature is a column name from the manifest's `features`, or an input's name; an output is named as in the
graph. n + 1 ascending `edges` define n bins, `edges[i] <= value < edges[i + 1]`; the last bin includes its
upper edge. Each of the `categories` is a bin. `shares` are the expected shares of the bins, among the values
that are in one of them. `missing` (NaN) and `outside` (in no other bin) are shares of all values; default: 0.
`rows` is the number of rows in training, which says how certain the shares are.
"""

import math
from collections.abc import Set
from ctypes import c_float
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from model_loader.errors import PackageError
from model_loader.package.json_file import is_number, read_json
from model_loader.package.manifest_fields import BASELINE_FILE
from model_loader.package.schema import Schema, withheld
from model_loader.package.verify import Package

# Two more bins: NaN, and values that are in none of the other bins.
MISSING, OUTSIDE = "missing", "outside"
OTHERS = {MISSING, OUTSIDE}

# Each bin is a time series in every replica.
MAX_BINS = 10_000
MAX_LABEL_CHARACTERS = 100
# Metrics are float64, which has all integers up to this one.
MAX_ROWS = 2**53


@dataclass(frozen=True)
class Distribution:
    """The expected distribution of one feature or output.

    Attributes:
        edges: of numeric bins, in the value's unit; empty if there are categories.
        categories: one bin each; empty if there are edges.
        shares: expected share of each bin among the values in them; the sum is 1.
        missing, outside: expected shares of all values.
    """

    name: str
    edges: tuple[float, ...]
    categories: tuple[Any, ...]
    shares: tuple[float, ...]
    missing: float = 0.0
    outside: float = 0.0

    @property
    def bins(self) -> tuple[str, ...]:
        """Names of all bins; `missing` and `outside` are the last ones."""
        ranges = (f"{_shortest(low)}..{_shortest(high)}" for low, high in pairwise(self.edges))
        return (*ranges, *map(_text, self.categories), MISSING, OUTSIDE)

    @property
    def expected(self) -> tuple[float, ...]:
        """The expected share of all values, for each of `bins`; the sum is 1."""
        present = 1 - self.missing - self.outside
        return (*(share * present for share in self.shares), self.missing, self.outside)


@dataclass(frozen=True)
class Baseline:
    """Distributions of a model's inputs and outputs in training.

    Attributes:
        rows: of the training data; None if the baseline does not say, so that drift cannot be judged.
    """

    rows: int | None
    features: tuple[Distribution, ...]
    outputs: tuple[Distribution, ...]

    def without_withheld(self, schema: Schema | None) -> "Baseline":
        """Return the distributions of what may be recorded: the bins of others have values of training."""
        if schema is None:
            return self
        features, outputs = withheld(schema.features), withheld(schema.outputs)
        return Baseline(
            self.rows,
            tuple(each for each in self.features if each.name not in features),
            tuple(each for each in self.outputs if each.name not in outputs),
        )


def read_baseline(package: Package, features: Set[str], outputs: Set[str]) -> Baseline | None:
    """Return the package's baseline, or None if it has no `baseline.json`.

    Args:
        features: valid names of features: the names of columns and of inputs.
        outputs: the names of the model's outputs.

    Raises:
        PackageError: the file is not a baseline, or has names that the model does not have.
    """
    path = package.path / BASELINE_FILE
    if package.path.is_file() or not path.is_file():
        return None
    return parse_baseline(read_json(path), features, outputs)


def parse_baseline(document: Any, features: Set[str], outputs: Set[str]) -> Baseline:
    """Parse the JSON of a baseline; arguments and exceptions as in `read_baseline`."""
    if not isinstance(document, dict):
        raise PackageError(f"{BASELINE_FILE}: expected an object")
    rows = document.get("rows")
    if rows is not None and not (
        isinstance(rows, int) and not isinstance(rows, bool) and 0 < rows <= MAX_ROWS
    ):
        raise PackageError(f"{BASELINE_FILE}: expected rows to be an integer of 1 or more, got {rows!r}")
    baseline = Baseline(
        rows,
        _distributions("feature", document.get("features", {}), features),
        _distributions("output", document.get("outputs", {}), outputs),
    )
    bins = sum(len(distribution.bins) for distribution in (*baseline.features, *baseline.outputs))
    if not 0 < bins <= MAX_BINS:
        raise PackageError(f"{BASELINE_FILE}: expected 1 to {MAX_BINS} bins, got {bins}")
    return baseline


def _distributions(kind: str, members: Any, names: Set[str]) -> tuple[Distribution, ...]:
    if not isinstance(members, dict):
        raise PackageError(f"{BASELINE_FILE}: expected {kind}s to be an object")
    for name in members:
        if name not in names:
            raise PackageError(
                f"{BASELINE_FILE}: the model has no {kind} '{name}'; it has {', '.join(sorted(names))}"
            )
    return tuple(
        _distribution(f"{BASELINE_FILE}: {kind} '{name}'", name, value) for name, value in members.items()
    )


def _distribution(where: str, name: str, value: Any) -> Distribution:
    match value:
        case {"edges": [_, _, *_] as edges, "shares": [*shares], **rest} if rest.keys() <= OTHERS:
            categories: list[Any] = []
            if not all(map(is_number, edges)) or not all(
                float(low) < float(high) for low, high in pairwise(edges)
            ):
                raise PackageError(f"{where}: expected edges to be ascending numbers")
        case {"categories": [_, *_] as categories, "shares": [*shares], **rest} if rest.keys() <= OTHERS:
            edges = []
            if not all(isinstance(item, str | int | float) for item in categories):
                raise PackageError(f"{where}: expected categories to be strings, numbers or booleans")
        case _:
            raise PackageError(
                f"{where}: expected shares, either two or more edges or categories, and no others than "
                f"{MISSING} and {OUTSIDE}"
            )
    if len(set(categories)) != len(categories):
        raise PackageError(f"{where}: expected different categories, got {categories!r}")
    others: list[Any] = [rest.get(other, 0.0) for other in (MISSING, OUTSIDE)]
    distribution = Distribution(name, tuple(map(float, edges)), tuple(categories), tuple(shares), *others)
    _check(where, distribution)
    return distribution


def _check(where: str, distribution: Distribution) -> None:
    shares, bins = distribution.shares, distribution.bins
    if not all(is_number(share) and share >= 0 for share in shares) or not math.isclose(
        sum(shares), 1, abs_tol=1e-6
    ):
        raise PackageError(f"{where}: expected shares to be numbers of 0 or more that add up to 1")
    others = (distribution.missing, distribution.outside)
    if not all(is_number(share) and 0 <= share < 1 for share in others) or sum(others) >= 1:
        raise PackageError(f"{where}: expected missing and outside to be shares that add up to less than 1")
    if len(shares) != len(bins) - 2:
        raise PackageError(f"{where}: expected {len(bins) - 2} shares, one for each bin, got {len(shares)}")
    if len(set(bins)) != len(bins) or max(map(len, bins)) > MAX_LABEL_CHARACTERS:
        raise PackageError(
            f"{where}: expected bins with different names of at most {MAX_LABEL_CHARACTERS} characters, "
            f"other than {MISSING} and {OUTSIDE}"
        )


def _shortest(edge: float) -> str:
    """Format an edge with the fewest digits that parse to the same number: as a float32, if it is one."""
    parse = (lambda text: c_float(float(text)).value) if c_float(edge).value == edge else float
    return next(text for digits in range(6, 18) if parse(text := f"{edge:.{digits}g}") == edge)


def _text(category: Any) -> str:
    return str(category).lower() if isinstance(category, bool) else str(category)
