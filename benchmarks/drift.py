"""How often drift alerts without a shift, and how often it finds one: a simulation of the rules.

    python -m benchmarks.drift [--short]

The baseline of each feature is drawn anew, and rows arrive at random. The rules are evaluated every minute
over a sliding window, as `monitoring/rules.yaml` does; a test compares the formulas of both.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.baseline import numeric_bins
from model_loader.drafting.drift_limits import (
    EXTREMES,
    LEAST_SHARE_EXCESS,
    detectable_shift,
    highest_share,
    is_drift,
    limit_z,
    lowest_share,
    psi,
)
from model_loader.text_tables import table

SEED = 24
WINDOW_MINUTES, FOR_MINUTES = 60, 5
SPECIAL_WINDOW_MINUTES = 15
WEEK_MINUTES = 7 * 24 * 60
WEEKS_A_YEAR = 365.25 / 7
BASELINES = (133, 500, 10_000)
FEATURES = (13, 100)
# Rows per minute: a request per second, and a quiet service.
RATES = (60.0, 5.0)
SHIFTS = (0.5, 0.75, 1.0)
MISSING = 0.05
# Feature-years of each case without a shift, and trials of each shift.
SHORT, LONG = (0.5, 40), (5.0, 400)
DEVIATIONS_95 = 1.959964

Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Feature:
    """A feature with a baseline.

    Attributes:
        edges: of the bins, in standard deviations.
        counts: of the baseline's rows in the bins.
        rows: of the baseline.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]
    rows: int

    def probabilities(self, shift: float = 0.0, missing: float = 0.0) -> NDArray[np.float64]:
        """Return the probability of each bin, then of `missing` and `outside`."""
        below = np.array([0.5 * math.erfc(-(edge - shift) / math.sqrt(2)) for edge in self.edges])
        inside = np.diff(below)
        return np.array([*inside * (1 - missing), missing, (1 - inside.sum()) * (1 - missing)])


def make_feature(numbers: np.random.Generator, rows: int) -> Feature:
    """Draw the training data of a normal feature, and return its baseline as a draft has it."""
    bins = numeric_bins(numbers.standard_normal(rows).astype(np.float32))
    return Feature(np.array(bins["edges"]), np.array(bins["shares"]) * rows, rows)


def sliding(counts: Counts, minutes: int) -> Counts:
    """Return the sums over a window that ends at each minute, shape as `counts`: (minutes, bins)."""
    total = counts.cumsum(axis=0)
    total[minutes:] -= total[:-minutes].copy()
    return total


def alerts(feature: Feature, counts: Counts, z: float) -> tuple[Flags, Flags, Flags]:
    """Return the minutes in which drift, missing values and values outside the bins alert.

    Args:
        counts: rows of each minute, shape (minutes, bins + 2); the last are `missing` and `outside`.
    """
    window = sliding(counts[:, :-2], WINDOW_MINUTES)
    index = psi(window, feature.counts)
    is_beyond = is_drift(index, window.sum(1), feature.counts.sum(), len(feature.counts), z)
    # `for`: true at this evaluation and at all of the minutes before.
    drift = sliding(is_beyond[:, None].astype(np.int64), FOR_MINUTES + 1)[:, 0] > FOR_MINUTES
    special = sliding(counts, SPECIAL_WINDOW_MINUTES)
    rows = np.maximum(special.sum(1), 1)
    missing, outside = (
        lowest_share(special[:, column], rows, z) - highest_share(known, feature.rows, z) > LEAST_SHARE_EXCESS
        for column, known in ((-2, 0), (-1, EXTREMES))
    )
    return drift, missing, outside & ~missing


def false_alerts(
    numbers: np.random.Generator, rows: int, features: int, rate: float, years: float
) -> tuple[int, float]:
    """Return how many alerts there are without a shift, and in how many feature-years.

    Each feature has a baseline of its own for a week, so that many baselines are tried.
    """
    z, found = limit_z(features), 0
    weeks = math.ceil(years * WEEKS_A_YEAR)
    for _ in range(weeks):
        feature = make_feature(numbers, rows)
        counts = numbers.poisson(rate * feature.probabilities(), (WEEK_MINUTES, len(feature.edges) + 1))
        for flags in alerts(feature, counts, z):
            found += int(flags[0]) + int((flags[1:] & ~flags[:-1]).sum())
    return found, weeks / WEEKS_A_YEAR


def found_share(
    numbers: np.random.Generator,
    rows: int,
    features: int,
    trials: int,
    *,
    shift: float = 0.0,
    missing: float = 0.0,
    minutes: int = 60,
    rate: float = 60.0,
) -> float:
    """Return the share of features in which a change is found within some minutes.

    The window before the change is full of values as in training.
    """
    z, found = limit_z(features), 0
    for _ in range(trials):
        feature = make_feature(numbers, rows)
        size = len(feature.edges) + 1
        counts = np.concatenate(
            [
                numbers.poisson(rate * feature.probabilities(), (WINDOW_MINUTES, size)),
                numbers.poisson(rate * feature.probabilities(shift, missing), (minutes, size)),
            ]
        )
        found += any(flags[WINDOW_MINUTES:].any() for flags in alerts(feature, counts, z))
    return found / trials


def interval(share: float, trials: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    square = DEVIATIONS_95**2 / trials
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return middle - half, middle + half


def most_alerts(count: int) -> float:
    """Return the upper 95 % bound of the mean of a Poisson distribution, from a count."""
    known = count + 1
    return known * (1 - 1 / (9 * known) + 1.644854 / (3 * math.sqrt(known))) ** 3


def false_alert_rows(years: float) -> Iterator[tuple[str, ...]]:
    """Simulate features without a shift; yield the rows of a table."""
    for rows in BASELINES:
        for features in FEATURES:
            for rate in RATES:
                numbers = np.random.default_rng([SEED, rows, features, round(rate)])
                count, simulated = false_alerts(numbers, rows, features, rate, years)
                yield (
                    f"{rows:,}",
                    str(features),
                    f"{rate / 60:.2g}",
                    f"{count} in {simulated:.1f}",
                    f"{most_alerts(count) / simulated:.2f}",
                )


def power_rows(trials: int) -> Iterator[tuple[str, ...]]:
    """Simulate shifts; yield the rows of a table."""
    for rows in BASELINES:
        for features in FEATURES:
            numbers = np.random.default_rng([SEED, rows, features])
            shares = [found_share(numbers, rows, features, trials, shift=shift) for shift in SHIFTS]
            found = [_percent(share, trials) for share in shares]
            least = detectable_shift(rows, features)
            yield (f"{rows:,}", str(features), *found, "-" if least is None else f"{least:g}")


def missing_rows(trials: int) -> Iterator[tuple[str, ...]]:
    """Simulate missing values; yield the rows of a table."""
    for rows in BASELINES:
        for rate in (60.0, 6000.0):
            numbers = np.random.default_rng([SEED, rows, round(rate), 15])
            share = found_share(numbers, rows, max(FEATURES), trials, missing=MISSING, minutes=15, rate=rate)
            yield (f"{rows:,}", f"{rate / 60:g}", _percent(share, trials))


def _percent(share: float, trials: int) -> str:
    low, high = interval(share, trials)
    return f"{100 * share:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser("drift", description="Simulate the drift alerts, with a fixed seed.")
    parser.add_argument("--short", action="store_true", help="a few seconds; wide intervals")
    args = parser.parse_args(argv)
    years, trials = SHORT if args.short else LONG
    print("Alerts without a shift, of drift, missing values and values outside:\n")
    false = ("BASELINE ROWS", "FEATURES", "ROWS/S", "ALERTS IN FEATURE-YEARS", "A YEAR, AT MOST (95 %)")
    print(table(false, list(false_alert_rows(years))))
    print("\nShifts found within an hour, at a row a second (95 % interval):\n")
    power = ("BASELINE ROWS", "FEATURES", *(f"{shift:g} SD" for shift in SHIFTS), "90 % FROM, SD")
    print(table(power, list(power_rows(trials))))
    print("\n5 % of missing values found within 15 minutes, 100 features:\n")
    print(table(("BASELINE ROWS", "ROWS/S", "FOUND"), list(missing_rows(trials))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
