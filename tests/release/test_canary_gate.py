"""The canary gate with a real Prometheus, which scrapes simulated pods."""

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
from functools import partial
from http.server import ThreadingHTTPServer
from math import log

import pytest

from tests.e2e.conftest import missing
from tests.model_loader.command_line import Result
from tests.release.conftest import release
from tests.release.simulated_pods import CASES, Clock, Handler

WINDOW_S = 5


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


def wait_for_targets(url: str, count: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until Prometheus has scraped `count` targets."""
    for _ in range(300):
        assert process.poll() is None
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}?query=sum(up)", timeout=5) as reply:
            result = json.load(reply)["data"]["result"]
            if result and int(result[0]["value"][1]) == count:
                return
        time.sleep(0.1)
    pytest.fail(f"Prometheus did not scrape {count} targets within 30 s")


@pytest.fixture(scope="module")
def prometheus(pods: str, clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Prometheus and return its URL once it has scraped all pods for longer than the window."""
    if not shutil.which("prometheus"):
        missing("prometheus is not installed (Debian: apt install prometheus)")
    directory = tmp_path_factory.mktemp("prometheus")
    targets = [
        {
            "targets": [pods],
            "labels": {
                "__metrics_path__": f"/{namespace}/{track}",
                "namespace": namespace,
                "track": track,
                "pod": f"{namespace}-{track}",
            },
        }
        for namespace, case in CASES.items()
        for track, pod in zip(("canary", "stable"), case, strict=True)
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
    """Return the gate's result by case, with the burst still in the window."""
    options = ["--prometheus", prometheus, "--window", f"{WINDOW_S}s", "--namespace"]
    return {name: release("canary-gate", *options, name) for name in CASES}


def rejected(result: Result) -> list[str]:
    """Return the rejected checks of a table."""
    return [re.split("  +", line)[0] for line in result.out.splitlines() if line.endswith("  reject")]


@pytest.mark.parametrize("name", ["good", "restarted", "as-bad-as-stable", "other-bins", "no-baseline"])
def test_good(name: str, results: dict[str, Result]) -> None:
    """A canary that is no worse than stable passes, and the table has every check."""
    result = results[name]
    assert (result.code, result.err, rejected(result)) == (0, "", [])
    assert result.out.startswith("CHECK ")
    assert result.out.endswith(f"canary in {name}, last 5s: pass\n")
    checks = [line.split()[0] for line in result.out.splitlines()[1:-1]]
    assert checks == ["requests", "errors", "p99_seconds", "shed", "psi"]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("failing", "errors"),
        ("burst", "errors"),
        ("slow", "p99_seconds"),
        ("shedding", "shed"),
        ("shifted", "psi of label vs stable"),
        ("empty-bin", "psi of label vs stable"),
        ("other-bins-shifted", "psi of label vs its baseline"),
    ],
)
def test_worse(name: str, check: str, results: dict[str, Result]) -> None:
    """A canary that is worse in one respect is rejected by that check only."""
    assert results[name].code == 1
    assert rejected(results[name]) == [check]


@pytest.mark.parametrize("name", ["little-traffic", "idle", "stable-idle"])
def test_too_little_traffic(name: str, results: dict[str, Result]) -> None:
    """Too little traffic to canary or stable pods is `not yet`, whatever the other checks find."""
    assert results[name].code == 3
    assert re.search(r"^requests .* at least 200  +not yet$", results[name].out, re.MULTILINE)
    assert results[name].out.endswith("not yet\n")


def test_first_deployment(results: dict[str, Result]) -> None:
    """In the first deployment, without stable pods, only the absolute limits apply."""
    assert results["first"].code == 0
    assert "above stable" not in results["first"].out
    assert "first deployment, no stable pods" in results["first"].out
    assert "psi of label vs its baseline" in results["first"].out
    assert results["first-failing"].code == 1
    assert rejected(results["first-failing"]) == ["errors"]


def test_values(results: dict[str, Result]) -> None:
    """The table has the values of the pods."""
    values = {line.split()[0]: line.split()[1:3] for line in results["failing"].out.splitlines()}
    assert float(values["errors"][0]) == pytest.approx(0.05 / 1.1, rel=0.05)
    assert float(values["errors"][1]) == 0
    assert float(values["requests"][0]) == pytest.approx(110 * WINDOW_S, rel=0.2)
    assert float(values["p99_seconds"][0]) == pytest.approx(0.99 * 0.005)
    psi = re.search(r"vs stable +([0-9.]+)", results["shifted"].out)
    assert psi
    assert float(psi[1]) == pytest.approx(2 * (0.05 - 0.4) * log(0.05 / 0.4) + 0.7 * log(4.5), rel=0.05)


def test_no_canary(prometheus: str) -> None:
    """If Prometheus scrapes no canary, there is no decision."""
    result = release("canary-gate", "--prometheus", prometheus, "--namespace", "empty")
    assert result.code == 3
    assert "has no canary targets in empty" in result.out


def test_watch(prometheus: str) -> None:
    """Watching ends at the first reject, or else after the given time."""
    options = ["--prometheus", prometheus, "--window", "5s", "--namespace"]
    start = time.monotonic()
    assert release("canary-gate", *options, "slow", "--watch", "1h").code == 1
    assert time.monotonic() - start < 60
    start = time.monotonic()
    assert release("canary-gate", *options, "good", "--watch", "2s").code == 0
    assert time.monotonic() - start >= 2


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
    """Wrong usage is neither a pass nor a reject, and the message has no password."""
    result = release("canary-gate", *argv)
    assert result.code == 2
    assert "secret" not in result.err
