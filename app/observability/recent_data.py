"""The distribution of the data of the last hour, for the page at `/`."""

from pathlib import Path
from typing import Any

import numpy as np

from app.observability.bin_counter import BinCounter, Counts
from app.observability.shared_ring import Numbers, SharedRing

STEP_S = 300
# The windows of the alerts: an hour for drift, 15 minutes for missing values and values outside of all bins.
# Of the current step only a part has passed, so one step more is added.
STEPS_OF_WINDOW = {"1h": 13, "15m": 4}


class RecentData:
    """Counts values by the baseline's bins, in steps of 5 minutes."""

    def __init__(self, counter: BinCounter, directory: Path | None) -> None:
        """
        Args:
            directory: see `SharedRing`.
        """
        self._counter = counter
        self._ring = SharedRing(
            "data",
            directory if counter.bins else None,
            steps=max(STEPS_OF_WINDOW.values()),
            step_s=STEP_S,
            columns=1 + len(counter.bins),
        )

    def count(self, rows: int, counts: Counts) -> None:
        """Add values of some rows.

        Args:
            counts: shape (bins,).
        """
        self._ring.add(np.concatenate(([rows], counts)))

    def refresh(self) -> None:
        """Show the counts to the other workers."""
        self._ring.write()

    def windows(self) -> dict[str, Any]:
        """Return the distributions of features and outputs, with the baseline's."""
        first, columns = self._ring.read()
        sums = {name: columns[-steps:].sum(axis=0) for name, steps in STEPS_OF_WINDOW.items()}
        return {
            "from": first,
            "baseline_rows": self._counter.rows,
            "rows": {name: int(values[0]) for name, values in sums.items()},
            "distributions": self._distributions(sums),
        }

    def _distributions(self, sums: dict[str, Numbers]) -> list[dict[str, Any]]:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for i, each in enumerate(self._counter.bins):
            item = found.setdefault(
                (each.kind, each.name),
                {"kind": each.kind, "name": each.name, "bins": [], "expected": []}
                | {name: [] for name in sums},
            )
            item["bins"].append(each.label)
            item["expected"].append(each.share)
            for name, values in sums.items():
                item[name].append(int(values[1 + i]))
        return list(found.values())
