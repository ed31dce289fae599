"""The check of an output's distribution."""

from collections.abc import Mapping

import numpy as np

from release.canary_checks import Check
from release.pod_counters import Look, TrackCounts
from release.sequential_test import Counts, Floats, OddsTests, RateTests, log_mean, upper_bound

MAX_SHARE = 1 - 1e-6


class OutputCheck(Check):
    """The distribution of one output: compared with the control pods', or with the canary's own baseline.

    Bins of numbers are compared at each edge between them, categories one by one, in both directions. Several
    values of one request, such as the rows of a batch, may be alike: they count as one.
    """

    def __init__(
        self,
        output: str,
        shares: Mapping[str, float],
        limits: Mapping[str, float],
        alpha: float,
        share: float,
        *,
        baseline_rows: float | None = None,
    ) -> None:
        """
        Args:
            shares: bin → its share in the baseline of the canary's model.
            baseline_rows: number of rows of that baseline, to compare with it; None to compare with the
                control pods.
        """
        # Half of the error rate is for the baseline, whose shares are themselves estimates.
        super().__init__(f"output {output}", alpha, share if baseline_rows is None else share / 2)
        self._output = output
        self._shares = shares
        self._rows = baseline_rows
        self._limit = limits["odds" if baseline_rows is None else "baseline_odds"]
        self._splits = split_bins(shares)
        self._seen: list[dict[str, int]] = [{}, {}]
        self._odds = [OddsTests(len(self._splits), self._limit) for _ in range(2)]
        if baseline_rows is not None:
            error = alpha * self.share / (2 * len(self._splits))
            expected = np.array([sum(shares[bin_] for bin_ in split) for split in self._splits])
            self._rates = [
                RateTests(_upper_limits(each, baseline_rows, error, self._limit))
                for each in (expected, 1 - expected)
            ]

    def _count(self, look: Look) -> None:
        canary, control = (track.outputs.get(self._output, {}) for track in (look.canary, look.control))
        if self._rows is not None and not look.is_replayed:
            counts, weight = self._counts(canary), 1 / self._values_per_request(look.canary)
            for test, side in zip(self._rates, (counts, counts.others()), strict=True):
                test.observe(side, weight)
        elif self._rows is None:
            pair = self._counts(canary), self._counts(control)
            weight = 1 / max(map(self._values_per_request, (look.canary, look.control)))
            self._odds[0].observe(*pair, weight)
            self._odds[1].observe(pair[0].others(), pair[1].others(), weight)
        else:
            return
        for seen, values in zip(self._seen, (canary, control), strict=True):
            for bin_ in self._shares:
                seen[bin_] = seen.get(bin_, 0) + values.get(bin_, 0)

    def _counts(self, values: Mapping[str, int]) -> Counts:
        cases = [sum(values.get(bin_, 0) for bin_ in split) for split in self._splits]
        return Counts(sum(values.get(bin_, 0) for bin_ in self._shares), np.array(cases))

    def _values_per_request(self, track: TrackCounts) -> float:
        """Return how many values of a request count as one.

        If the service counts only a sample of its requests, the output with the fewest values still shows how
        many of them a row has.
        """
        values = {output: sum(bins.values()) for output, bins in track.outputs.items()}
        total, fewest = values.get(self._output, 0), min(filter(None, values.values()), default=1)
        return max(1.0, total / max(1, track.answered), total / fewest)

    def _log_evidence(self) -> float:
        tests = self._odds if self._rows is None else self._rates
        return log_mean([test.log_evidence for test in tests])

    def _cells(self) -> tuple[str, str, str]:
        canary, control = self._seen
        totals = [max(1, sum(seen.values())) for seen in self._seen]
        actual = {bin_: canary.get(bin_, 0) / totals[0] for bin_ in self._shares}
        expected = {bin_: control.get(bin_, 0) / totals[1] for bin_ in self._shares}
        source = "control"
        if self._rows is not None:
            expected, source = dict(self._shares), f"its baseline of {self._rows:g} rows"
        bin_ = max(self._shares, key=lambda bin_: abs(actual[bin_] - expected[bin_]))
        return (
            f"{100 * actual[bin_]:.3g} % in {bin_}, {sum(canary.values())} values",
            f"{source}: {100 * expected[bin_]:.3g} %",
            f"{self._limit:g} times the odds",
        )


def split_bins(bins: Mapping[str, float]) -> list[tuple[str, ...]]:
    """Return the sets of bins of which each is compared with all other bins.

    Numeric bins, `LOW..HIGH`, are split at each edge between them. All other bins, such as categories and
    `missing`, are compared one by one.
    """
    lows = {name: _low(name) for name in bins}
    numeric = sorted((low, name) for name, low in lows.items() if low is not None)
    ordered = [name for _, name in numeric]
    splits = [tuple(ordered[:index]) for index in range(1, len(ordered))]
    return [*splits, *((name,) for name, low in lows.items() if low is None)] or [tuple(bins)]


def _low(name: str) -> float | None:
    """Return the lower edge of a numeric bin, or None for another one."""
    low, separator, high = name.partition("..")
    try:
        return float(low) if separator and float(high) is not None else None
    except ValueError:
        return None


def _upper_limits(shares: Floats, rows: float, error: float, odds: float) -> Floats:
    """Return the limits of some shares that are known from a baseline.

    Args:
        rows: number of rows in the baseline.
        error: probability with which a true share may be above what is assumed.
        odds: how many times as high the odds may be.
    """
    known = np.array([upper_bound(float(share), rows, error) for share in shares])
    # A share of exactly 1 would have infinite odds.
    allowed = odds * known / (1 - known + odds * known)
    return np.minimum(allowed, MAX_SHARE)
