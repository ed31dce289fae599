"""The canary gate with a real Prometheus, which scrapes simulated pods."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from release import canary_watch
from release.canary_gate import CanaryGate
from release.canary_watch import CanaryWatch
from release.errors import NotEnoughData
from release.prometheus import Prometheus
from release.thresholds import read_thresholds
from tests.release.conftest import release
from tests.release.prometheus_server import running_prometheus, target
from tests.release.simulated_pods import CASES, Clock, Handler

ROOT = Path(__file__).parents[2]
WATCH_S = 8
INTERVAL_S = 0.7


@dataclass(frozen=True)
class Watched:
    """The outcome of one watch."""

    result: str
    report: str
    reason: str
    seconds: float

    @property
    def rejected(self) -> list[str]:
        """The rejected checks of the table."""
        return [re.split("  +", line)[0] for line in self.report.splitlines() if line.endswith("  reject")]

    def row(self, check: str) -> list[str]:
        """Return the cells of a check, without its name."""
        line = next(line for line in self.report.splitlines() if line.startswith(f"{check}  "))
        return re.split("  +", line)[1:]


@pytest.fixture(scope="module")
def clock() -> Clock:
    """Return a clock that starts with the first test that uses it."""
    return Clock()


@pytest.fixture(scope="module")
def pods(clock: Clock) -> Iterator[str]:
    """Run the server of all simulated pods and return its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, clock)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def prometheus(pods: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Prometheus and return its URL once it has scraped all pods."""
    targets = [
        target(pods, f"/{namespace}/{track}", namespace, track)
        for namespace, case in CASES.items()
        for track in case.pods()
    ]
    directory = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(directory, targets, scrape_interval_ms=500) as (url, process):
        for _ in range(300):
            assert process.poll() is None
            # All but the pod that is not there yet.
            with contextlib.suppress(NotEnoughData):
                if [each.value for each in Prometheus(url).vector("sum(up)")] == [len(targets) - 1]:
                    break
            time.sleep(0.1)
        else:
            pytest.fail("Prometheus did not scrape all targets within 30 s")
        yield url


@pytest.fixture(scope="module")
def watched(prometheus: str, clock: Clock) -> dict[str, Watched]:
    """Watch all canaries at the same time, and return the outcomes."""
    thresholds = read_thresholds(ROOT / "monitoring/canary.toml")

    def watch(namespace: str) -> Watched:
        gate = CanaryGate(thresholds)
        reason, start = "", time.monotonic()
        try:
            CanaryWatch(gate, Prometheus(prometheus), namespace).run(WATCH_S)
        except NotEnoughData as exc:
            reason = str(exc)
        return Watched(gate.result, gate.report(), reason, time.monotonic() - start)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(CASES)) as pool:
        patch.setattr(canary_watch, "INTERVAL_S", INTERVAL_S)
        futures = {name: pool.submit(watch, name) for name in CASES}
        time.sleep(WATCH_S / 2)
        clock.middle = time.monotonic()
        return {name: future.result() for name, future in futures.items()}


@pytest.mark.parametrize(
    "name",
    [
        *("good", "restarted", "late-stable", "as-bad-as-stable", "batches", "slow-as-control"),
        *("other-bins", "no-baseline", "first", "first-idle"),
    ],
)
def test_good(name: str, watched: dict[str, Watched]) -> None:
    """A canary that is no worse than the stable release passes, and the table has every check."""
    outcome = watched[name]
    assert (outcome.result, outcome.rejected, outcome.reason) == ("pass", [], ""), outcome.report
    assert outcome.seconds >= WATCH_S
    checks = [re.split("  +", line)[0] for line in outcome.report.splitlines()]
    assert checks[:5] == ["CHECK", "requests", "errors", "shed", "latency"]
    assert checks[5:] == ["output" if name == "no-baseline" else "output label"]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("failing", "errors"),
        ("burst", "errors"),
        ("failing-quiet", "errors"),
        ("slow", "latency"),
        ("shedding", "shed"),
        ("shifted", "output label"),
        ("empty-bin", "output label"),
        ("other-bins-shifted", "output label"),
        ("first-failing", "errors"),
        ("first-slow", "latency"),
        ("first-shifted", "output label"),
    ],
)
def test_worse(name: str, check: str, watched: dict[str, Watched]) -> None:
    """A canary that is worse in one respect is rejected by that check only, before the watch is over."""
    outcome = watched[name]
    assert (outcome.result, outcome.rejected) == ("reject", [check]), outcome.report
    assert outcome.seconds < WATCH_S
    chance = outcome.row(check)[3]
    assert float(re.findall(r"[0-9.e-]+", chance)[0]) <= 1


def test_quiet(watched: dict[str, Watched]) -> None:
    """Too few requests are no decision."""
    outcome = watched["idle"]
    assert (outcome.result, outcome.reason) == ("not yet", "")
    assert outcome.row("requests") == ["0", "control: 0", "at least 300", "-", "not yet"]


def test_no_control(watched: dict[str, Watched]) -> None:
    """Without control pods beside the stable ones, there is no decision, and the reason is given."""
    outcome = watched["no-control"]
    assert outcome.result == "not yet"
    assert "has scraped no control pod in no-control" in outcome.reason


def test_first_deployment(watched: dict[str, Watched]) -> None:
    """The first deployment, without stable pods, is compared with nothing but its limits and its baseline."""
    assert "first deployment" in watched["first-idle"].report
    assert watched["first"].row("errors")[1:3] == ["-", "2 %"]
    assert "its baseline of 1000 rows" in watched["first"].report


def test_counts(watched: dict[str, Watched]) -> None:
    """The table has the rates of the pods since the watch began; a restart loses no request."""
    for name in ("good", "restarted"):
        requests = int(watched[name].row("requests")[0])
        assert requests == pytest.approx(100 * WATCH_S, rel=0.2)
    canary, other, *_ = watched["as-bad-as-stable"].row("errors")
    assert float(canary.split(" %")[0]) == pytest.approx(1.5, abs=0.3)
    assert float(re.findall(r"([0-9.]+) %", other)[0]) == pytest.approx(1.4, abs=0.3)
    assert "p50 ≤ 0.5 s, p99 ≤ 0.5 s" in watched["slow-as-control"].report


def test_no_canary(prometheus: str) -> None:
    """If Prometheus scrapes no canary, there is no decision."""
    options = ["--prometheus", prometheus, "--namespace", "empty", "--watch", "1s"]
    result = release("canary-gate", *options)
    assert result.code == 3
    assert "has scraped no canary pod in empty" in result.out


def test_command(prometheus: str, watched: dict[str, Watched]) -> None:
    """The command's exit code says what the table says."""
    options = ["--prometheus", prometheus, "--watch", "10s", "--namespace"]
    assert release("canary-gate", *options, "first").code == 0
    slow = release("canary-gate", *options, "slow")
    assert slow.code == 1
    assert slow.out.endswith("canary in slow, watched for 10s: reject\n")


@pytest.mark.parametrize("grace_s", [30.0, 0.0])
def test_last_look_fails(
    prometheus: str, watched: dict[str, Watched], monkeypatch: pytest.MonkeyPatch, grace_s: float
) -> None:
    """If Prometheus does not answer in the last look, it is asked again before there is no decision."""
    watch = CanaryWatch(
        CanaryGate(read_thresholds(ROOT / "monitoring/canary.toml")), Prometheus(prometheus), "good"
    )
    look, end, failed = watch.look, time.monotonic() + 0.5, list[float]()

    def fail_twice() -> None:
        if time.monotonic() >= end and len(failed) < 2:
            failed.append(time.monotonic())
            raise NotEnoughData("no answer")
        look()

    monkeypatch.setattr(watch, "look", fail_twice)
    monkeypatch.setattr(canary_watch, "INTERVAL_S", 0.1)
    monkeypatch.setattr(canary_watch, "GRACE_S", grace_s)
    if grace_s:
        watch.run(0.5)
        assert len(failed) == 2
    else:
        with pytest.raises(NotEnoughData, match="no answer"):
            watch.run(0.5)


def test_nothing_to_replay(prometheus: str, watched: dict[str, Watched], tmp_path: Path) -> None:
    """Without traffic and without samples there is no decision, and the reason is given."""
    options = ["--prometheus", prometheus, "--watch", "1s", "--samples", str(tmp_path / "nowhere")]
    result = release("canary-gate", *options, "--namespace", "idle")
    assert result.code == 3
    assert re.search(r"not yet: too few requests, and samples cannot be replayed: .*nowhere", result.out)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--prometheus", "prometheus:9090"],
        ["--prometheus", "http://me:secret@prometheus:9090"],
        ["--prometheus", "http://p", "--watch", "5"],
        ["--prometheus", "http://p", "--namespace", 'x"}'],
        ["--prometheus", "http://p", "--thresholds", "nowhere.toml"],
        ["--prometheus", "http://p", "--window", "5m"],
    ],
)
def test_usage(argv: list[str]) -> None:
    """Wrong usage is neither a pass nor a reject, and the message has no password."""
    result = release("canary-gate", *argv)
    assert result.code == 2
    assert "secret" not in result.err
