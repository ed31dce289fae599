"""Simulated pods: the metrics that Prometheus scrapes in the tests of the canary gate."""

import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

EDGES = (0.005, 0.1, 0.5, 1.0, 2.5)


class Clock:
    """The clock that all pods share.

    Attributes:
        middle: time of the middle of the window; None before.
    """

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.middle: float | None = None

    def uptime_s(self, restarted: bool) -> float:
        """Return how long a pod has been running, in seconds; a restart is in the middle of the window."""
        return time.monotonic() - (self.middle if restarted and self.middle else self.start)


@dataclass(frozen=True)
class Pod:
    """A pod and its traffic.

    Attributes:
        rate: requests per second.
        errors: share of the requests that end in 500.
        shed: share of the requests that find the queue full.
        duration: of every request, in seconds.
        shares: of the outputs in bins 0, 1 and 2; None if the package has no baseline.
        burst: number of errors in the middle of the window.
        restart: whether the pod restarts in the middle of the window.
        bins: names of the baseline's bins.
    """

    rate: float = 100
    errors: float = 0
    shed: float = 0
    duration: float = 0.002
    shares: tuple[float, float, float] | None = (0.4, 0.4, 0.2)
    burst: int = 0
    restart: bool = False
    bins: tuple[str, str, str] = ("0", "1", "2")

    def metrics(self, clock: Clock) -> str:
        """Return the text that Prometheus scrapes. As in the service, a counter of 0 is absent."""
        requests = int(self.rate * clock.uptime_s(self.restart))
        failed = int(requests * self.errors) + (self.burst if clock.middle else 0)
        counters = {
            'model_requests_total{status="200",caller="a"}': requests - failed,
            'model_requests_total{status="400",caller="a"}': int(requests * 0.1),
            'model_requests_total{status="500",caller="a"}': failed,
            'model_requests_total{status="503",caller="a"}': int(requests * self.shed),
            'model_rejected_total{reason="queue_full"}': int(requests * self.shed),
            'model_rejected_total{reason="invalid"}': int(requests * 0.1),
        }
        series = 'flask_http_request_duration_seconds_bucket{method="POST",url_rule="/score",status="200",le='
        counters |= {f'{series}"{edge}"}}': requests * (self.duration <= edge) for edge in EDGES}
        counters[f'{series}"+Inf"}}'] = requests
        for name, share in zip(self.bins, self.shares or (), strict=False):
            counters[f'model_output_bin_total{{output="label",bin="{name}"}}'] = int(requests * share)
        lines = [f"{name} {value}" for name, value in counters.items() if value]
        if self.shares:
            lines += [
                f'model_output_expected_ratio{{output="label",bin="{name}"}} 0.33' for name in self.bins
            ]
        return "\n".join(["up_since 1", *lines, ""])


GOOD = Pod()
FAILING, SLOW, SHEDDING = Pod(errors=0.05), Pod(duration=0.4), Pod(shed=0.1)
OTHER_BINS = ("1..2", "2..3", "3..4")
# Namespace → its canary and its stable pod. All run at the same time. The burst comes first, so that the gate
# sees it while it is still in the window.
CASES: dict[str, tuple[Pod, Pod | None]] = {
    "burst": (Pod(burst=30), GOOD),
    "good": (GOOD, GOOD),
    "restarted": (Pod(restart=True), GOOD),
    "as-bad-as-stable": (Pod(errors=0.015), Pod(errors=0.014)),
    "failing": (FAILING, GOOD),
    "slow": (SLOW, GOOD),
    "shedding": (SHEDDING, GOOD),
    "shifted": (Pod(shares=(0.05, 0.05, 0.9)), GOOD),
    "empty-bin": (Pod(shares=(0.7, 0.3, 0)), GOOD),
    "little-traffic": (Pod(rate=3, errors=0.5), GOOD),
    "idle": (Pod(rate=0), GOOD),
    "stable-idle": (GOOD, Pod(rate=0)),
    "first": (GOOD, None),
    "first-failing": (FAILING, None),
    "other-bins": (Pod(bins=OTHER_BINS, shares=(0.3, 0.3, 0.4)), GOOD),
    "other-bins-shifted": (Pod(bins=OTHER_BINS, shares=(1, 0, 0)), GOOD),
    "no-baseline": (Pod(shares=None), GOOD),
}


class Handler(BaseHTTPRequestHandler):
    """Serves the metrics of a pod at `/NAMESPACE/TRACK`."""

    def __init__(self, clock: Clock, *args: object) -> None:
        self.clock = clock
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Send the metrics."""
        _, namespace, track = self.path.split("/")
        pod = CASES[namespace][track == "stable"]
        assert pod
        content = pod.metrics(self.clock).encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Log nothing."""
