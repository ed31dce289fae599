"""Requests, latencies, errors and the queue of the last hour, for the page at `/`."""

from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

import numpy as np

from app.observability.shared_ring import Numbers, SharedRing
from app.tensors.datatypes import Array

STEPS, STEP_S = 361, 10
COUNTS = ("requests", "client_errors", "server_errors", "shed")
# As the alert ScoringShedding counts them.
SHED = {"queue_full", "over_share", "deadline"}
# Bounds of the durations, 15 % apart, from 10 µs to 10 s.
BOUNDS = np.geomspace(1e-5, 10, 100)
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class RecentRequests:
    """Counts scored requests by steps of 10 s.

    Attributes:
        ring: the counts, the number of durations up to each bound, and the longest queue.
    """

    def __init__(self, directory: Path | None, waiting_rows: Callable[[], int]) -> None:
        """
        Args:
            directory: see `SharedRing`.
            waiting_rows: returns the length of this worker's queue.
        """
        columns = len(COUNTS) + len(BOUNDS) + 1 + 1
        self.ring = SharedRing("requests", directory, steps=STEPS, step_s=STEP_S, columns=columns)
        self._waiting_rows = waiting_rows

    def count(self, status: int, reason: str | None, durations: Array) -> None:
        """Count requests with the same status.

        Args:
            reason: of their rejection.
            durations: shape (n,), in seconds.
        """
        n = len(durations)
        is_server_error = status >= 500
        counts = [n, n * (400 <= status < 500), n * is_server_error, n * (reason in SHED)]
        values = np.zeros(len(COUNTS) + len(BOUNDS) + 1)
        values[: len(COUNTS)] = counts
        if status == 200:  # a rejection takes less time than an answer
            bins = BOUNDS.searchsorted(durations)
            values[len(COUNTS) :] = np.bincount(bins, minlength=len(BOUNDS) + 1)
        self.ring.add(values, np.array([self._waiting_rows()]))

    def refresh(self) -> None:
        """Note the queue, and show all of it to the other workers."""
        if waiting := self._waiting_rows():
            self.ring.add(np.zeros(0), np.array([waiting]))
        self.ring.write()

    def last_hour(self, started: float) -> dict[str, Any]:
        """Return the steps since a time, and the hour as a whole.

        The current step is part of the hour only: its rates would be too low until it is over. If it is the
        only one, its rates are those of the time since the start.

        Args:
            started: when the service started, in seconds since the epoch.
        """
        first, columns = self.ring.read()
        skipped = min(max(0, int((started - first) // STEP_S)), STEPS - 1)
        first, columns = first + skipped * STEP_S, columns[skipped:]
        total = columns[:, :-1].sum(axis=0)
        hour = dict(zip(COUNTS, total[: len(COUNTS)].astype(int).tolist(), strict=True))
        step_s: float = STEP_S
        if len(columns) > 1:
            columns = columns[:-1]
        else:
            step_s = min(max(time() - max(started, first), 1.0), STEP_S)
        durations = columns[:, len(COUNTS) : -1]
        steps: dict[str, Any] = {name: _rounded(columns[:, i] / step_s) for i, name in enumerate(COUNTS)} | {
            "queue_rows": _rounded(columns[:, -1])
        }
        for name, share in QUANTILES.items():
            steps[name] = [quantile(row, share) if row.any() else None for row in durations]
        return {
            "source": "service",
            "from": first,
            "step_s": STEP_S,
            "steps": steps,
            "hour": hour | {name: quantile(total[len(COUNTS) :], share) for name, share in QUANTILES.items()},
        }


def quantile(counts: Numbers, share: float) -> float | None:
    """Return a quantile in seconds, interpolated within its bin; None without durations.

    Args:
        counts: shape (bounds + 1,), durations up to each bound, and above the last one.
    """
    cumulative = counts.cumsum()
    rank = share * cumulative[-1]
    if not rank:
        return None
    index = int(cumulative.searchsorted(rank))
    if index == len(BOUNDS):
        return float(BOUNDS[-1])
    low = float(BOUNDS[index - 1]) if index else 0.0
    part = 1 - (cumulative[index] - rank) / counts[index]
    return float(f"{low + part * (BOUNDS[index] - low):.4g}")


def _rounded(values: Numbers) -> list[float]:
    return [float(f"{value:.4g}") for value in values]
