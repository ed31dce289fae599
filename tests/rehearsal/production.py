"""What Prometheus knows of the model in production: its quality, and the alerts that fire."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from release.prometheus import Prometheus
from tests.rehearsal.components import FLOOR, MIN_LABELS
from tests.rehearsal.rehearsal import NAMESPACE, Rehearsal

METRIC = "accuracy"
INTERVAL_S = 0.5


@dataclass(frozen=True)
class Quality:
    """The accuracy of a version, with its interval of 95 %, and the labels that it is of."""

    version: int
    value: float
    low: float
    high: float
    rows: int

    @property
    def is_enough(self) -> bool:
        """Whether there are enough labels, and the accuracy is not below its floor."""
        return self.rows >= MIN_LABELS and self.value >= FLOOR

    def __str__(self) -> str:
        return f"{METRIC} {self.value:.3f} ({self.low:.3f} to {self.high:.3f}) of {self.rows} labels"


def read_quality(rehearsal: Rehearsal, version: int) -> Quality | None:
    """Return the accuracy of a version in production, or None if it has no labels yet."""
    prometheus = Prometheus(rehearsal.parts.prometheus)
    labels = f'{{namespace="{NAMESPACE}", version="{version}", metric="{METRIC}"}}'
    bounds = {each.labels["bound"]: each.value for each in prometheus.vector(f"model_quality{labels}")}
    rows = prometheus.vector(f"model_quality_rows{labels}")
    if not rows or bounds.keys() != {"value", "low", "high"}:
        return None
    return Quality(version, bounds["value"], bounds["low"], bounds["high"], int(rows[0].value))


def read_alerts(rehearsal: Rehearsal) -> list[str]:
    """Return the alerts that fire and ask for a training, as text."""
    found = Prometheus(rehearsal.parts.prometheus).vector('ALERTS{alertstate="firing", retrain="yes"}')
    return sorted(
        f"{each.labels['alertname']} of {each.labels['name']}/{each.labels['version']}, "
        f"{each.labels.get('metric', 'calibration')}"
        for each in found
    )


def version_of(model: str) -> int:
    """Return the version of `wine/N`."""
    return int(model.rpartition("/")[2])


def wait_until(reached: Callable[[], object], timeout_s: float, what: str) -> None:
    """Wait until something is true.

    Raises:
        AssertionError: it is not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(INTERVAL_S)
