"""The checks of a canary: what is counted at each look, compared by sequential tests.

Each check has a share of the watch's error rate. Within a check the evidence is the mean of all its tests:
those against other pods, those against a fixed limit, one for each edge or bin.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from release.pod_counters import Look, TrackCounts
from release.promql import DURATIONS
from release.sequential_test import Counts, OddsTests, RateTests, log_mean, upper_bound

PASS, REJECT = "pass", "reject"
# Metric of the requests that the gate sends and measures itself.
REPLAYED = "replayed"
MAX_SLOW = 0.01  # the limit is a 99th percentile


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        canary: what was measured at the canary.
        other: the same at the pods, or in the baseline, with which it is compared.
        limit: what is allowed.
        chance: upper bound of the probability that a canary within its limits looks this bad, over all looks
            and checks; None if nothing is tested.
        result: `pass`; `reject`; `-` if there is nothing to test.
    """

    check: str
    canary: str
    other: str
    limit: str
    chance: float | None
    result: str


class Check(ABC):
    """A check, with its evidence so far.

    Attributes:
        share: of the error rate of the watch.
    """

    def __init__(self, name: str, alpha: float, share: float) -> None:
        self.name = name
        self.alpha = alpha
        self.share = share
        self._highest = 0.0

    @property
    def chance(self) -> float:
        """A bound on how often a canary within its limits would look this bad at any time in any check."""
        return min(1.0, math.exp(-self._highest) / self.share)

    @property
    def is_rejected(self) -> bool:
        """Whether the evidence suffices to reject the canary."""
        return self.chance <= self.alpha

    def observe(self, look: Look) -> None:
        """Add what was counted since the last look."""
        self._count(look)
        # Ville's inequality is about the highest value, so evidence once reached remains.
        self._highest = max(self._highest, self._log_evidence())

    def result(self) -> CheckResult:
        """Return the result so far."""
        canary, other, limit = self._cells()
        return CheckResult(self.name, canary, other, limit, self.chance, REJECT if self.is_rejected else PASS)

    @abstractmethod
    def _count(self, look: Look) -> None: ...

    @abstractmethod
    def _log_evidence(self) -> float: ...

    @abstractmethod
    def _cells(self) -> tuple[str, str, str]: ...


class RateCheck(Check):
    """Errors or shed requests: compared with control and stable pods together, and with a limit.

    A rate of errors does not depend on how long a pod has been running, so the stable pods count too. There
    are many of them, which makes up for the few requests of the control pods.
    """

    def __init__(
        self, name: str, limits: Mapping[str, float], alpha: float, share: float, *, is_first: bool
    ) -> None:
        super().__init__(name, alpha, share)
        self._limits = limits
        self._odds = None if is_first else OddsTests(1, limits["odds"])
        self._rate = RateTests(np.array([limits["max"]]))
        self._seen = [[0, 0], [0, 0]]

    def _count(self, look: Look) -> None:
        canary = self._counts(look.canary)
        control, stable = self._counts(look.control), self._counts(look.stable)
        others = Counts(control.total + stable.total, control.cases + stable.cases)
        self._rate.observe(canary)
        if self._odds:
            self._odds.observe(canary, others)
        for seen, counts in zip(self._seen, (canary, others), strict=True):
            seen[0] += counts.total
            seen[1] += int(counts.cases[0])

    def _counts(self, track: TrackCounts) -> Counts:
        cases: int = getattr(track, self.name)
        return Counts(track.requests, np.array([min(cases, track.requests)]))

    def _log_evidence(self) -> float:
        tests = [self._rate.log_evidence, *([self._odds.log_evidence] if self._odds else [])]
        return log_mean(tests)

    def _cells(self) -> tuple[str, str, str]:
        (total, cases), (other_total, other_cases) = self._seen
        canary = f"{_percent(cases, total)} of {total}"
        if total:
            canary += f", 95 % sure: below {100 * upper_bound(cases / total, total, 0.05):.2g} %"
        limit = f"{100 * self._limits['max']:g} %"
        if not self._odds:
            return canary, "-", limit
        other = f"control and stable: {_percent(other_cases, other_total)} of {other_total}"
        return canary, other, f"{limit}, {self._limits['odds']:g} times the odds"


class LatencyCheck(Check):
    """Durations of requests: compared with the control pods, and with a limit.

    At each of the histogram's edges, the requests that took longer are counted. Only control pods are as
    fresh as the canary: stable pods have filled their caches.
    """

    def __init__(self, limits: Mapping[str, float], alpha: float, share: float, *, is_first: bool) -> None:
        super().__init__("latency", alpha, share)
        self._limits = limits
        self._is_first = is_first
        self._rate = RateTests(np.array([MAX_SLOW]))
        self._odds: dict[str, OddsTests] = {}
        self._edges: dict[str, tuple[float, ...]] = {}
        self._seen: list[dict[float, int]] = [{}, {}]

    def _count(self, look: Look) -> None:
        for metric in (*DURATIONS, REPLAYED):
            histograms = [track.durations.get(metric, {}) for track in (look.canary, look.control)]
            canary, control = histograms
            if not self._is_first and canary.get(math.inf) and control.get(math.inf):
                self._compare(metric, canary, control)
            # One inference is not a request; the limit is about the latter.
            if metric in (DURATIONS[0], REPLAYED):
                self._rate.observe(_slower(canary, [self._limit_edge(canary)]))
                for seen, histogram in zip(self._seen, histograms, strict=True):
                    for edge, count in histogram.items():
                        seen[edge] = seen.get(edge, 0) + count

    def _compare(self, metric: str, canary: Mapping[float, int], control: Mapping[float, int]) -> None:
        if metric not in self._odds:
            edges = tuple(sorted((canary.keys() | control.keys()) - {math.inf}))
            if not edges:
                return
            self._edges[metric] = edges
            self._odds[metric] = OddsTests(len(edges), self._limits["odds"])
        edges = self._edges[metric]
        self._odds[metric].observe(_slower(canary, edges), _slower(control, edges))

    def _limit_edge(self, histogram: Mapping[float, int]) -> float:
        """Return the first edge at or above the limit: whatever took longer exceeds the limit for certain."""
        return min((edge for edge in histogram if edge >= self._limits["max_p99_seconds"]), default=math.inf)

    def _log_evidence(self) -> float:
        if self._is_first:
            return self._rate.log_evidence
        # A metric without data counts with the evidence 1: weights must not depend on the data.
        metrics = [
            self._odds[metric].log_evidence if metric in self._odds else 0.0
            for metric in (*DURATIONS, REPLAYED)
        ]
        return log_mean([self._rate.log_evidence, log_mean(metrics)])

    def _cells(self) -> tuple[str, str, str]:
        limit = f"p99 {self._limits['max_p99_seconds']:g} s"
        canary, control = (f"{_quantile(seen, 0.5)}, {_quantile(seen, 0.99)}" for seen in self._seen)
        if self._is_first:
            return canary, "-", limit
        return canary, f"control: {control}", f"{limit}, {self._limits['odds']:g} times the odds"


def _slower(histogram: Mapping[float, int], edges: Sequence[float]) -> Counts:
    """Return how many requests took longer than each edge."""
    total = histogram.get(math.inf, 0)
    return Counts(total, np.array([total - min(total, histogram.get(edge, 0)) for edge in edges]))


def _quantile(histogram: Mapping[float, int], level: float) -> str:
    """Describe a quantile of durations by the edge above it."""
    total = histogram.get(math.inf, 0)
    name = f"p{100 * level:g}"
    if not total:
        return f"{name} -"
    edge = min(edge for edge, count in histogram.items() if count >= level * total)
    return f"{name} {'above all edges' if edge == math.inf else f'≤ {edge:.3g} s'}"


def _percent(cases: int, total: int) -> str:
    return f"{100 * cases / total:.3g} %" if total else "-"
