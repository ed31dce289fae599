"""The canary gate, asking Debian's Prometheus, which scrapes services that are made up here."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import log
from pathlib import Path

import pytest

from release.errors import ReleaseError
from release.thresholds import read_thresholds
from tests.e2e.conftest import missing
from tests.model_loader.seen import Result
from tests.release.conftest import release

ROOT = Path(__file__).parents[2]
EDGES = (0.005, 0.1, 0.5, 1.0, 2.5)
WINDOW_S = 5


@dataclass(frozen=True)
class Pod:
    """What a pod counts.

    Attributes:
        rate: requests a second.
        errors: the share of them that ended in 500.
        shed: the share of them that found the queue full.
        duration: of every request, in seconds.
        shares: of the outputs in bins 0, 1 and 2; None where the package has no baseline.
        burst: errors counted by one request in the middle of the window, and never again.
        restart: whether it began anew in the middle of the window.
        bins: the bins of its baseline.
    """

    rate: float = 100
    errors: float = 0
    shed: float = 0
    duration: float = 0.002
    shares: tuple[float, float, float] | None = (0.4, 0.4, 0.2)
    burst: int = 0
    restart: bool = False
    bins: tuple[str, str, str] = ("0", "1", "2")

    def metrics(self, clock: "Clock") -> str:
        """The text that Prometheus scrapes. A counter that is 0 is not there, as in the service."""
        requests = int(self.rate * clock.since(self.restart))
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


class Clock:
    """The time that all pods count by.

    Attributes:
        middle: when the middle of the window was; None before.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.middle: float | None = None

    def since(self, restart: bool) -> float:
        """Seconds since a pod began, which may have been in the middle of the window."""
        return time.monotonic() - (self.middle if restart and self.middle else self.began)


GOOD = Pod()
ERRING, SLOW, SHEDDING = Pod(errors=0.05), Pod(duration=0.4), Pod(shed=0.1)
OTHER_BINS = ("1..2", "2..3", "3..4")
# Namespace → its canary and its stable. All run at once; what happens once is asked for first.
CASES: dict[str, tuple[Pod, Pod | None]] = {
    "burst": (Pod(burst=30), GOOD),
    "good": (GOOD, GOOD),
    "restarted": (Pod(restart=True), GOOD),
    "as-bad-as-stable": (Pod(errors=0.015), Pod(errors=0.014)),
    "erring": (ERRING, GOOD),
    "slow": (SLOW, GOOD),
    "shedding": (SHEDDING, GOOD),
    "shifted": (Pod(shares=(0.05, 0.05, 0.9)), GOOD),
    "emptied": (Pod(shares=(0.7, 0.3, 0)), GOOD),
    "little": (Pod(rate=3, errors=0.5), GOOD),
    "idle": (Pod(rate=0), GOOD),
    "stable-idle": (GOOD, Pod(rate=0)),
    "first": (GOOD, None),
    "first-erring": (ERRING, None),
    "other-bins": (Pod(bins=OTHER_BINS, shares=(0.3, 0.3, 0.4)), GOOD),
    "other-bins-shifted": (Pod(bins=OTHER_BINS, shares=(1, 0, 0)), GOOD),
    "no-baseline": (Pod(shares=None), GOOD),
}


class Handler(BaseHTTPRequestHandler):
    """Serves `/NAMESPACE/TRACK`, and to POST whatever `replies` has for the path."""

    def __init__(self, clock: Clock, *args: object) -> None:
        self.clock = clock
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Metrics."""
        _, namespace, track = self.path.split("/")
        pod = CASES[namespace][track == "stable"]
        assert pod
        self.answer(pod.metrics(self.clock).encode())

    def do_POST(self) -> None:
        """What only pretends to be Prometheus."""
        self.rfile.read(int(self.headers["content-length"]))
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        said = b'{"status": "error", "error": "said: %d characters"}' % len(token)
        content = REPLIES.get(self.path.split("/")[1], said)
        self.answer(content, 302 if content == b"" else 200)

    def answer(self, content: bytes, status: int = 200) -> None:
        """Sends a reply."""
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/good/canary")
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Nothing."""


VECTOR = b'{"status": "success", "data": {"resultType": "vector", "result": [%s]}}'
REPLIES = {
    "html": b"<html>Sign in</html>",
    "list": b"[]",
    "scalar": b'{"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}',
    "number": VECTOR % b'{"metric": {}, "value": 7}',
    "text": VECTOR % b'{"metric": {}, "value": [1, "x"]}',
    "two": VECTOR % b'{"metric": {}, "value": [1, "1"]}, {"metric": {}, "value": [1, "2"]}',
    "refused": b'{"status": "error", "errorType": "execution", "error": "too many samples"}',
    "redirect": b"",
}


@pytest.fixture(scope="module")
def clock() -> Clock:
    """Begins with the first test that needs it."""
    return Clock()


@pytest.fixture(scope="module")
def services(clock: Clock) -> Iterator[str]:
    """The address of the server that all pods and false servers are."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, clock)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def wait_for_targets(url: str, count: int, process: "subprocess.Popen[bytes]") -> None:
    """Waits until Prometheus has scraped so many targets."""
    for _ in range(300):
        assert process.poll() is None
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}?query=sum(up)", timeout=5) as reply:
            result = json.load(reply)["data"]["result"]
            if result and int(result[0]["value"][1]) == count:
                return
        time.sleep(0.1)
    pytest.fail(f"Prometheus did not scrape {count} targets within 30 s")


@pytest.fixture(scope="module")
def prometheus(services: str, clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Prometheus that has watched all pods for longer than the window."""
    if not shutil.which("prometheus"):
        missing("no Prometheus (Debian: apt install prometheus)")
    directory = tmp_path_factory.mktemp("prometheus")
    targets = [
        {
            "targets": [services],
            "labels": {
                "__metrics_path__": f"/{namespace}/{track}",
                "namespace": namespace,
                "track": track,
                "pod": f"{namespace}-{track}",
            },
        }
        for namespace, pods in CASES.items()
        for track, pod in zip(("canary", "stable"), pods, strict=True)
        if pod
    ]
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
        "scrape_configs": [{"job_name": "scorebox", "static_configs": targets}],
    }
    (directory / "prometheus.yml").write_text(json.dumps(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            wait_for_targets(f"http://{address}/api/v1/query", len(targets), process)
            time.sleep(WINDOW_S)
            clock.middle = time.monotonic()
            time.sleep(WINDOW_S / 2)
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def results(prometheus: str) -> dict[str, Result]:
    """What the gate says of every case, while what happened once is still in the window."""
    options = ["--prometheus", prometheus, "--window", f"{WINDOW_S}s", "--namespace"]
    return {name: release("canary-gate", *options, name) for name in CASES}


def rejected(result: Result) -> list[str]:
    """The checks that a table rejects."""
    return [re.split("  +", line)[0] for line in result.out.splitlines() if line.endswith("  reject")]


@pytest.mark.parametrize("name", ["good", "restarted", "as-bad-as-stable", "other-bins", "no-baseline"])
def test_good(name: str, results: dict[str, Result]) -> None:
    """A canary that is no worse than stable passes, and the table says by what."""
    result = results[name]
    assert (result.code, result.err, rejected(result)) == (0, "", [])
    assert result.out.startswith("CHECK ")
    assert result.out.endswith(f"canary in {name}, last 5s: pass\n")
    checks = [line.split()[0] for line in result.out.splitlines()[1:-1]]
    assert checks == ["requests", "errors", "p99_seconds", "shed", "psi"]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("erring", "errors"),
        ("burst", "errors"),
        ("slow", "p99_seconds"),
        ("shedding", "shed"),
        ("shifted", "psi of label, to stable"),
        ("emptied", "psi of label, to stable"),
        ("other-bins-shifted", "psi of label, to its baseline"),
    ],
)
def test_bad(name: str, check: str, results: dict[str, Result]) -> None:
    """A canary that is worse in one way is rejected by that row alone."""
    assert results[name].code == 1
    assert rejected(results[name]) == [check]


@pytest.mark.parametrize("name", ["little", "idle", "stable-idle"])
def test_too_little(name: str, results: dict[str, Result]) -> None:
    """Too little traffic on either side is `not yet`, however good or bad it looks."""
    assert results[name].code == 3
    assert re.search(r"^requests .* at least 200  +not yet$", results[name].out, re.MULTILINE)
    assert results[name].out.endswith("not yet\n")


def test_first(results: dict[str, Result]) -> None:
    """The first deployment has no stable, and is held against what needs none."""
    assert results["first"].code == 0
    assert "over stable" not in results["first"].out
    assert "the first canary: no stable" in results["first"].out
    assert "psi of label, to its baseline" in results["first"].out
    assert results["first-erring"].code == 1
    assert rejected(results["first-erring"]) == ["errors"]


def test_figures(results: dict[str, Result]) -> None:
    """The table's figures are those of the services."""
    cells = {line.split()[0]: line.split()[1:3] for line in results["erring"].out.splitlines()}
    assert float(cells["errors"][0]) == pytest.approx(0.05 / 1.1, rel=0.05)
    assert float(cells["errors"][1]) == 0
    assert float(cells["requests"][0]) == pytest.approx(110 * WINDOW_S, rel=0.2)
    assert float(cells["p99_seconds"][0]) == pytest.approx(0.99 * 0.005)
    psi = re.search(r"to stable +([0-9.]+)", results["shifted"].out)
    assert psi
    assert float(psi[1]) == pytest.approx(2 * (0.05 - 0.4) * log(0.05 / 0.4) + 0.7 * log(4.5), rel=0.05)


def test_no_canary(prometheus: str) -> None:
    """Where Prometheus watches no canary, nothing is said of it."""
    result = release("canary-gate", "--prometheus", prometheus, "--namespace", "empty")
    assert result.code == 3
    assert "knows of no canary in empty" in result.out


def test_watch(prometheus: str) -> None:
    """Watching ends at once with a reject, and else goes on for as long as was said."""
    options = ["--prometheus", prometheus, "--window", "5s", "--namespace"]
    began = time.monotonic()
    assert release("canary-gate", *options, "slow", "--watch", "1h").code == 1
    assert time.monotonic() - began < 60
    began = time.monotonic()
    assert release("canary-gate", *options, "good", "--watch", "2s").code == 0
    assert time.monotonic() - began >= 2


@pytest.mark.parametrize("kind", REPLIES)
def test_not_prometheus(kind: str, services: str) -> None:
    """What does not answer as Prometheus does is never a pass, and is named."""
    result = release("canary-gate", "--prometheus", f"http://{services}/{kind}")
    assert result.code == 3
    assert f"http://{services}/{kind}" in result.out
    assert "Traceback" not in result.err


def test_unreachable() -> None:
    """Nor is what does not answer at all."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        result = release("canary-gate", "--prometheus", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert result.code == 3
    assert "cannot be reached: " in result.out


def test_token(services: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token goes to the server that was named, and into no message."""
    monkeypatch.setenv("PROMETHEUS_TOKEN", "hush-5f1c")
    result = release("canary-gate", "--prometheus", f"http://{services}/token")
    assert "Bearer" not in result.out + result.err
    assert "said: 9 characters" in result.out


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--prometheus", "prometheus:9090"],
        ["--prometheus", "http://me:secret@prometheus:9090"],
        ["--prometheus", "http://p", "--window", "5"],
        ["--prometheus", "http://p", "--namespace", 'x"}'],
        ["--prometheus", "http://p", "--thresholds", "nowhere.toml"],
    ],
)
def test_usage(argv: list[str]) -> None:
    """Wrong usage is neither a pass nor a reject, and repeats no password."""
    result = release("canary-gate", *argv)
    assert result.code == 2
    assert "secret" not in result.err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max = 0.25", "max = 'a lot'", "max is a number"),
        ("max = 0.25", "max = nan", "max is a number"),
        ("max = 0.25", "", "expected max"),
        ("[psi]\nmax = 0.25", "", "expected the tables"),
        ("min = 200", "min = 0", "at least 1"),
        ("[shed]", "[shed", "is not TOML"),
    ],
)
def test_bad_thresholds(old: str, new: str, message: str, tmp_path: Path) -> None:
    """A threshold that is missing or means nothing is refused, with its name."""
    text = (ROOT / "monitoring/canary.toml").read_text()
    assert old in text
    (tmp_path / "canary.toml").write_text(text.replace(old, new))
    with pytest.raises(ReleaseError, match=re.escape(message)):
        read_thresholds(tmp_path / "canary.toml")
