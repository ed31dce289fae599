"""Simulated pods: the metrics that Prometheus scrapes, and the answers to replayed samples."""

import contextlib
import json
import math
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler

EDGES = (0.005, 0.1, 0.5, 1.0, 2.5, math.inf)


class Clock:
    """The clock that all pods share.

    Attributes:
        start: when the pods started.
        middle: time of the middle of the watch; None before.
    """

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.middle: float | None = None

    def uptime_s(self, pod: "Pod") -> float:
        """Return how long a pod has been running, in seconds."""
        restarted = (pod.restart or pod.is_late) and self.middle
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
        burst: number of errors in the middle of the watch.
        restart: whether the pod restarts in the middle of the watch.
        is_late: whether the pod starts in the middle of the watch.
        history: number of requests that the pod answered before, half of them with an error.
        rows: values per request, all of them in the same bin.
        bins: names of the baseline's bins.
        baseline: their shares.
    """

    rate: float = 100
    errors: float = 0
    shed: float = 0
    duration: float = 0.002
    shares: tuple[float, float, float] | None = (0.4, 0.4, 0.2)
    burst: int = 0
    restart: bool = False
    is_late: bool = False
    history: int = 0
    rows: int = 1
    bins: tuple[str, str, str] = ("0", "1", "2")
    baseline: tuple[float, float, float] = (0.4, 0.4, 0.2)

    def metrics(self, clock: Clock) -> str:
        """Return the text that Prometheus scrapes. As in the service, a counter of 0 is absent."""
        requests = int(self.rate * clock.uptime_s(self)) + self.history
        failed = int((requests - self.history) * self.errors) + (self.burst if clock.middle else 0)
        failed += self.history // 2
        shed = int(requests * self.shed)
        counters = {
            'model_requests_total{status="200",caller="a"}': requests - failed - shed,
            'model_requests_total{status="500",caller="a"}': failed,
            'model_requests_total{status="503",caller="a"}': shed,
            'model_rejected_total{reason="queue_full"}': shed,
            'model_rejected_total{reason="invalid"}': int(requests * 0.1),
        }
        for url_rule, labels in (("/score", 'method="POST"'), ("/healthz", 'method="GET"')):
            series = f'flask_http_request_duration_seconds_bucket{{{labels},url_rule="{url_rule}",le='
            for edge in EDGES:
                le = "+Inf" if edge == math.inf else str(edge)
                counters[f'{series}"{le}"}}'] = requests * (self.duration <= edge)
        for name, share in zip(self.bins, self.shares or (), strict=False):
            counters[f'model_output_bin_total{{output="label",bin="{name}"}}'] = (
                int(requests * share) * self.rows
            )
        # A histogram has all of its buckets.
        lines = [f"{name} {value}" for name, value in counters.items() if value or "_bucket" in name]
        if self.shares:
            lines += [
                f'model_output_expected_ratio{{output="label",bin="{name}"}} {share}'
                for name, share in zip(self.bins, self.baseline, strict=True)
            ]
            lines.append("model_baseline_rows 1000")
        return "\n".join(['model_info{name="wine"} 1', *lines, ""])


@dataclass(frozen=True)
class Case:
    """The pods of one namespace. Stable pods have been running for long, with a bad past."""

    canary: Pod = Pod()
    control: Pod | None = Pod()
    stable: Pod | None = field(default_factory=lambda: Pod(rate=300, history=100_000))

    def pods(self) -> dict[str, Pod]:
        """Return track → pod."""
        return {track: pod for track, pod in vars(self).items() if pod}


QUIET = Pod(rate=0)
FAILING, SLOW, SHEDDING = Pod(errors=0.06), Pod(duration=0.4), Pod(shed=0.15)
OTHER_BINS = ("1..2", "2..3", "3..4")
# All namespaces run at the same time.
CASES: dict[str, Case] = {
    "good": Case(),
    "restarted": Case(Pod(restart=True)),
    "late-stable": Case(stable=Pod(rate=300, is_late=True)),
    "as-bad-as-stable": Case(Pod(errors=0.015), Pod(errors=0.015), Pod(rate=300, errors=0.014)),
    "batches": Case(Pod(shares=(0.44, 0.38, 0.18), rows=1000), Pod(rows=1000)),
    "failing": Case(FAILING),
    "burst": Case(Pod(burst=40)),
    "slow": Case(SLOW),
    "shedding": Case(SHEDDING),
    "shifted": Case(Pod(shares=(0.05, 0.05, 0.9))),
    "empty-bin": Case(Pod(shares=(0.7, 0.3, 0))),
    "slow-as-control": Case(SLOW, SLOW),
    "failing-quiet": Case(Pod(rate=5, errors=0.9)),
    "idle": Case(QUIET, QUIET),
    "no-control": Case(control=None),
    "first": Case(control=None, stable=None),
    "first-idle": Case(QUIET, None, None),
    "first-failing": Case(FAILING, None, None),
    "first-slow": Case(Pod(duration=1.5), None, None),
    "first-shifted": Case(Pod(shares=(0.9, 0.05, 0.05)), None, None),
    "other-bins": Case(Pod(bins=OTHER_BINS)),
    "other-bins-shifted": Case(Pod(bins=OTHER_BINS, shares=(1, 0, 0))),
    "no-baseline": Case(replace(Pod(), shares=None)),
}


class Handler(BaseHTTPRequestHandler):
    """Serves the metrics of a pod at `/NAMESPACE/TRACK`."""

    def __init__(self, clock: Clock, *args: object) -> None:
        self.clock = clock
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Send the metrics."""
        _, namespace, track = self.path.split("/")
        pod: Pod = getattr(CASES[namespace], track)
        self.answer(503 if pod.is_late and not self.clock.middle else 200, pod.metrics(self.clock))

    def answer(self, status: int, text: str) -> None:
        """Send a response."""
        content = text.encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        # Prometheus gives up if the machine is busy.
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


class ServingPod(BaseHTTPRequestHandler):
    """Answers `/score` of replayed samples; a subclass sets how.

    Attributes:
        status: of every response.
        delay_s: before every response.
        label: the output.
        keys: the API keys of the requests.
    """

    status = 200
    delay_s = 0.0
    label = 0
    keys: list[str | None]

    def do_POST(self) -> None:
        """Answer a sample."""
        self.rfile.read(int(self.headers["content-length"]))
        self.keys.append(self.headers.get("x-api-key"))
        time.sleep(self.delay_s)
        content = json.dumps({"outputs": {"label": [self.label]}}).encode()
        self.send_response(self.status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Log nothing."""
