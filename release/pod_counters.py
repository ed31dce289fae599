"""What the pods of each track have counted since the last look, from the samples that Prometheus scraped.

The gate adds up samples itself because `increase` extrapolates, and loses a counter's first value.
"""

import math
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from release.prometheus import Prometheus, Series
from release.promql import CANARY, CONTROL, DURATIONS, OUTPUTS, REJECTED, REQUESTS, STABLE, last_counters
from release.promql import counters as counters_query

# Samples may arrive this late, in seconds: managed Prometheus takes minutes to show some of them.
MAX_DELAY_S = 300
SHED_STATUSES = {"503", "504"}
SHED_REASONS = {"queue_full", "over_share", "deadline", "not_ready"}


@dataclass(frozen=True)
class TrackCounts:
    """Requests of one track within some time.

    Attributes:
        requests: number of scoring requests.
        answered: number of them with status 200.
        errors: number of them with a server error, without shed requests.
        shed: number of requests shed.
        durations: metric → upper edge in seconds → number of requests that did not take longer. The edge of
            the last bucket is infinite.
        outputs: output → bin → number of values.
    """

    requests: int = 0
    answered: int = 0
    errors: int = 0
    shed: int = 0
    durations: Mapping[str, Mapping[float, int]] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """What all tracks counted between two looks.

    Attributes:
        is_replayed: whether the requests are replayed samples.
    """

    canary: TrackCounts
    control: TrackCounts = TrackCounts()
    stable: TrackCounts = TrackCounts()
    is_replayed: bool = False


class PodCounters:
    """The counters of all pods in a namespace.

    Counting starts with the first `read`. A pod that appears later counts with all its requests, a pod that
    vanishes keeps what it had, and a counter that is reset continues from zero.
    """

    def __init__(self, prometheus: Prometheus, namespace: str) -> None:
        self._prometheus = prometheus
        self._namespace = namespace
        # Time of the first read, by the server's clock.
        self._started = -math.inf
        # Labels → time and value of the last sample that counted.
        self._last: dict[frozenset[tuple[str, str]], tuple[float, float]] = {}
        self._read_at = math.nan

    def read(self) -> Look:
        """Return what was counted since the last successful read; nothing in the first one.

        Raises:
            NotEnoughData: Prometheus does not answer. Nothing is lost; the next read includes it.
        """
        now = time.monotonic()
        increases: dict[str, dict[frozenset[tuple[str, str]], float]] = defaultdict(dict)
        if math.isnan(self._read_at):
            for series in self._prometheus.vector(last_counters(self._namespace)):
                self._last[frozenset(series.labels.items())] = series.samples[-1]
                self._started = series.samples[-1][0]
        else:
            seconds = math.ceil(now - self._read_at) + MAX_DELAY_S
            for series in self._prometheus.matrix(counters_query(self._namespace, seconds)):
                key = frozenset(series.labels.items())
                increases[series.labels.get("track", "")][key] = self._increase(key, series)
        self._read_at = now
        canary, control, stable = (_track_counts(increases[track]) for track in (CANARY, CONTROL, STABLE))
        return Look(canary, control, stable)

    def _increase(self, key: frozenset[tuple[str, str]], series: Series) -> float:
        last_time, last = self._last.get(key, (self._started, 0.0))
        increase = 0.0
        for at, value in series.samples:
            if at > last_time:
                increase += value - last if value >= last else value
                last_time = at
            # Also of a sample that the first read should have seen but that arrived late: its requests are of
            # the time before, for example of samples that an earlier watch has replayed.
            last = value
        self._last[key] = last_time, last
        return increase


def _track_counts(increases: Mapping[frozenset[tuple[str, str]], float]) -> TrackCounts:
    """Sum the increases of one track's counters, by labels, over its pods."""
    plain: dict[str, float] = defaultdict(float)
    durations: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    outputs: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for key, increase in increases.items():
        labels = dict(key)
        match labels.get("__name__"):
            case str(name) if name in DURATIONS:
                durations[name][float(labels.get("le", "inf"))] += increase
            case name if name == OUTPUTS:
                outputs[labels.get("output", "")][labels.get("bin", "")] += increase
            case name if name == REQUESTS:
                status = labels.get("status", "")
                plain["requests"] += increase
                plain["answered"] += increase * (status == "200")
                plain["errors"] += increase * (status.startswith("5") and status not in SHED_STATUSES)
            case name if name == REJECTED and labels.get("reason") in SHED_REASONS:
                plain["shed"] += increase
    return TrackCounts(
        **{name: round(value) for name, value in plain.items()},
        durations={name: {le: round(n) for le, n in found.items()} for name, found in durations.items()},
        outputs={name: {bin_: round(n) for bin_, n in found.items()} for name, found in outputs.items()},
    )
