"""Watch a canary through Prometheus while it takes traffic."""

import time

from release.canary_checks import REJECT
from release.canary_gate import CanaryGate
from release.errors import NotEnoughData
from release.pod_counters import PodCounters
from release.prometheus import Prometheus
from release.promql import BASELINE_ROWS, CANARY, CONTROL, EXPECTED_SHARES, STABLE, models, targets

INTERVAL_S = 5.0
# How much longer the last look is repeated if Prometheus does not answer it.
GRACE_S = 60.0
# A baseline whose size is unknown is trusted as little as one of this many rows.
ASSUMED_ROWS = 100.0


class CanaryWatch:
    """A watch of the canary in one namespace.

    Attributes:
        gate: decides on the canary.
    """

    def __init__(self, gate: CanaryGate, prometheus: Prometheus, namespace: str) -> None:
        self.gate = gate
        self._prometheus = prometheus
        self._namespace = namespace
        self._counters = PodCounters(prometheus, namespace)

    def run(self, seconds: float) -> None:
        """Look at the canary every few seconds, until it is rejected or the time is over.

        Raises:
            NotEnoughData: at the end, Prometheus does not answer, or has scraped no canary or no control pod.
        """
        end = time.monotonic() + seconds
        while True:
            is_over = time.monotonic() >= end
            try:
                self.look()
            except NotEnoughData:
                # Nothing is lost: a look includes what happened since the last one that succeeded.
                if time.monotonic() >= end + (GRACE_S if self.gate.has_outputs else 0.0):
                    raise
            else:
                if is_over or self.gate.result == REJECT:
                    return
            left = end - time.monotonic()
            time.sleep(min(INTERVAL_S, left) if left > 0 else INTERVAL_S)

    def look(self) -> None:
        """Add what was counted since the last look.

        If Prometheus has seen no stable pod for a day, the canary belongs to the first deployment.

        Raises:
            NotEnoughData: Prometheus does not answer, or has scraped no canary or no control pod.
        """
        if self.gate.is_first is None:
            found = self._prometheus.vector(targets(self._namespace))
            self.gate.begin(is_first=not any(each.labels.get("track") == STABLE for each in found))
        if not self.gate.has_outputs:
            self._add_outputs()
        self.gate.observe(self._counters.read())

    def _add_outputs(self) -> None:
        required = {CANARY} if self.gate.is_first else {CANARY, CONTROL}
        shares: dict[str, dict[str, dict[str, float]]] = {}
        rows = ASSUMED_ROWS
        for each in self._prometheus.vector(models(self._namespace)):
            labels = each.labels
            of_track = shares.setdefault(labels.get("track", ""), {})
            if labels.get("__name__") == EXPECTED_SHARES:
                of_track.setdefault(labels.get("output", ""), {})[labels.get("bin", "")] = each.value
            if labels.get("__name__") == BASELINE_ROWS and labels.get("track") == CANARY:
                rows = each.value
        if missing := required - shares.keys():
            pods = " and no ".join(f"{track} pod" for track in sorted(missing))
            raise NotEnoughData(
                f"Prometheus at {self._prometheus.url} has scraped no {pods} in {self._namespace}"
            )
        self.gate.add_outputs(shares[CANARY], shares.get(CONTROL, {}), rows)
