"""Every expression of the dashboard and the rules returns data for live services and a monitor."""

import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_loader.package import hash_file
from monitor.lake import Lake
from tests.app.conftest import Server, starting
from tests.monitor.simulated import iso, ship_rows
from tests.monitor.test_serve import served
from tests.monitor.test_serve import wait_for as wait_for_metrics
from tests.monitoring.conftest import (
    DASHBOARD,
    PANELS,
    ROOT,
    RULES,
    Prometheus,
    program,
    prometheus,
    shortened,
    wait_for,
)

# Values of Grafana's variables when "All" is selected.
VALUES = {
    "__rate_interval": "1m",
    "__range": "5m",
    "namespace": ".*",
    "model": ".*",
    "pod": "a|b|c",
    "feature": "alcohol",
    "metric": "accuracy",
}
SAMPLES = json.loads((ROOT / "model_store/wine/2/samples.json").read_text())
VERSIONS = {"earlier": 1, "stable": 2, "canary": 1}
SCHEMA = {
    "features": {
        "alcohol": {"type": "number", "max": 100, "max_missing": 0.01},
        "ash": {"type": "number", "max": 100},
    },
    "outputs": {"label": {"type": "integer"}, "probabilities": {"type": "number", "min": 0, "max": 1}},
    "feedback": {"label": {"type": "label", "output": "label"}, "revenue": {"type": "number"}},
}
MONITOR_CONFIG = """
[limits.accuracy]
min = 0.5
max_drop = 0.2
[limits.log_loss]
max = 2
[business.revenue]
min = 1
max = 9
[slices]
strong = "(inputs->>'alcohol')::DOUBLE > 13"
"""


@contextmanager
def loaded(server: Server) -> Iterator[None]:
    """Send valid and invalid requests of several callers to a service, in the background."""
    stop = threading.Event()
    thread = threading.Thread(target=load, args=(server, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def load(server: Server, stop: threading.Event) -> None:
    """Send requests one after another until `stop` is set."""
    rows = [row for sample in SAMPLES for row in sample["inputs"]["x"]]
    bodies = [
        {"inputs": rows * 10},
        {"inputs": rows[:1]},
        {"inputs": [[1e6] * len(rows[0])]},
        {"inputs": [[1, 2]]},
        {"inputs": [[None, *rows[0][1:]]]},
    ]
    with closing(server.connect()) as connection:
        while not stop.wait(0.05):
            for caller, body in zip(("shop", "shop", "lab", "lab", "lab"), bodies, strict=True):
                headers = {"content-type": "application/json", "x-caller": caller}
                connection.request("POST", "/score", json.dumps(body), headers)
                response = connection.getresponse()
                response.read()
            feedback = {"id": response.headers["x-prediction-id"], "label": 1}
            connection.request("POST", "/feedback", json.dumps(feedback), headers)
            connection.getresponse().read()


def send_half(server: Server) -> None:
    """Send a request with an incomplete body, and wait for its deadline."""
    with closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
        connection.sendall(
            b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 504")


def write_package(path: Path, version: int) -> Path:
    """Copy a version of the sample model, with a schema."""
    shutil.copytree(ROOT / f"model_store/wine/{version}", path)
    (path / "schema.json").write_text(json.dumps(SCHEMA))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["schema.json"] = vars(hash_file(path / "schema.json"))
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def fill(spool: Path) -> Path:
    """Create a spool without space for rows."""
    (spool / "name=wine/kind=prediction").mkdir(parents=True)
    (spool / "name=wine/kind=prediction/full.jsonl").write_bytes(b" " * 2**20)
    return spool


@contextmanager
def monitored(directory: Path) -> Iterator[int]:
    """Run a monitor of simulated predictions of version 2 with feedback, and yield its port."""
    start = datetime.now(UTC) - timedelta(hours=20)
    predictions, feedback = [], []
    for index in range(200):
        about = {"id": f"id-{index}", "row": 0, "time": iso(start + timedelta(minutes=index))}
        shares = [0.7, 0.2, 0.1] if index % 2 else [0.1, 0.3, 0.6]
        outputs = {"label": 0 if index % 2 else 2, "probabilities": shares}
        inputs = {"alcohol": 12 + index % 3}
        predictions.append(about | {"version": 2, "inputs": inputs, "outputs": outputs})
        feedback.append(about | {"metric": "label", "value": index % 3})
        feedback.append(about | {"metric": "revenue", "value": index % 7})
    lake = Lake(f"file:{directory}/captured")
    ship_rows(lake, directory / "simulated", "prediction", predictions)
    ship_rows(lake, directory / "simulated", "feedback", feedback)
    (directory / "monitor.toml").write_text(MONITOR_CONFIG)
    options = ["--captured", f"file:{directory}/captured", "--config", str(directory / "monitor.toml")]
    with served("--models", f"file:{ROOT}/model_store", "--interval", "5", *options) as url:
        wait_for_metrics(url, "monitor_up 1.0")
        yield int(url.rstrip("/").rpartition(":")[2])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Prometheus]]:
    """A stable replica and a canary under load, and a Prometheus that also has data of a removed replica.

    The canary's spool is full. A monitor has simulated data.
    """
    directory = tmp_path_factory.mktemp("live")
    variables = {"WEB_CONCURRENCY": "2", "CALLER_HEADER": "x-caller", "REQUEST_TIMEOUT_MS": "300"}
    variables["CAPTURE_MAX_BYTES"] = str(2**20)
    fill(directory / "canary-spool")
    with starting(directory) as start, monitored(directory) as monitor:
        earlier, stable, canary = servers = [
            start(
                write_package(directory / track, version),
                CAPTURE_DIR=str(directory / f"{track}-spool"),
                **variables,
            ).wait_until_ready()
            for track, version in VERSIONS.items()
        ]
        targets = {
            server.port: {"namespace": "ns", "pod": pod, "track": track.replace("earlier", "stable")}
            for pod, track, server in zip("abc", VERSIONS, servers, strict=True)
        }
        monitors = {monitor: {"namespace": "ns", "pod": "m"}}
        with prometheus(directory, targets, monitors=monitors) as found, loaded(stable), loaded(canary):
            with loaded(earlier):
                for server in servers * 4:
                    send_half(server)
                wait_for(
                    lambda: len(found.query('version:model_drift:psi1h{output!=""}')) == 4,
                    "200 rows per version",
                )
            earlier.stop()
            wait_for(lambda: found.query('up{pod="a"} == 0'), "the replaced replica is down")
            yield stable, found


def expressions() -> list[Any]:
    """Return the expressions of all panels and variables of the dashboard."""
    targets = [
        (f"{panel['title']} {target['refId']}", target["expr"])
        for panel in PANELS
        for target in panel.get("targets", [])
    ]
    queries = [
        (f"${variable['name']}", variable["query"]["query"])
        for variable in DASHBOARD["templating"]["list"]
        if variable["type"] == "query"
    ]
    return [pytest.param(text, id=name) for name, text in [*targets, *queries]]


def rules(kind: str) -> list[Any]:
    """Return all rules of a kind: "record" or "alert"."""
    groups = yaml.safe_load(RULES)["groups"]
    return [pytest.param(rule, id=rule[kind]) for group in groups for rule in group["rules"] if kind in rule]


def data(found: Prometheus, expression: str) -> list[tuple[dict[str, str], float]]:
    """Evaluate an expression until it returns data, and return the data."""
    series: list[tuple[dict[str, str], float]] = wait_for(lambda: found.query(expression), expression)
    return series


def filled(text: str) -> str:
    """Return an expression with values in place of Grafana's variables."""
    for name, value in VALUES.items():
        text = text.replace(f"${name}", value)
    return text


@pytest.mark.parametrize("text", expressions())
def test_dashboard(live: tuple[Server, Prometheus], text: str) -> None:
    """Every panel has data, and every variable has a value."""
    if values := re.fullmatch(r"label_values\((.+), (\w+)\)", filled(text)):
        assert all(labels[values[2]] for labels, _ in data(live[1], values[1]))
    else:
        assert data(live[1], filled(text))


def test_versions(live: tuple[Server, Prometheus]) -> None:
    """The table compares stable, canary and earlier versions."""
    (table,) = (panel for panel in PANELS if panel["title"].startswith("Stable, canary"))
    for target in table["targets"]:
        found = data(live[1], filled(target["expr"]))
        assert {(labels["track"], labels["version"]) for labels, _ in found} == {
            ("stable", "1"),
            ("stable", "2"),
            ("canary", "1"),
        }


@pytest.mark.parametrize("rule", rules("record"))
def test_recorded(live: tuple[Server, Prometheus], rule: dict[str, str]) -> None:
    """Every recording rule returns data."""
    assert data(live[1], rule["record"])


def operands(expression: str) -> Iterator[str]:
    """Yield what `and`, `or` and `unless` connect, but for those within parentheses."""
    begin = 0
    for found in re.finditer(r"\b(?:and|or|unless)\b(?: (?:on|ignoring) \([a-z, ]+\))?(?= |\n)", expression):
        before = expression[: found.start()]
        if before.count("(") == before.count(")"):
            yield expression[begin : found.start()]
            begin = found.end()
    yield expression[begin:]


@pytest.mark.parametrize("rule", rules("alert"))
def test_alert(live: tuple[Server, Prometheus], rule: dict[str, str]) -> None:
    """Every comparison of an alert has data: with `bool`, it returns 0 or 1 instead of filtering.

    `absent` has none, because there are replicas.
    """
    text = re.sub(r" (==|>=|<=|>|<) ", r" \1 bool ", shortened(rule["expr"]))
    for part in operands(text):
        assert part.strip().startswith("absent") or data(live[1], part)


def test_healthy(live: tuple[Server, Prometheus]) -> None:
    """Prometheus evaluates every rule without an error."""
    found = [rule for group in live[1].get("rules")["groups"] for rule in group["rules"]]
    assert len(found) == len(rules("record")) + len(rules("alert"))
    assert {rule["name"]: rule["lastError"] for rule in found if rule["health"] != "ok"} == {}


def test_check_metrics(live: tuple[Server, Prometheus]) -> None:
    """Names, units and help texts of the metrics follow Prometheus' conventions."""
    text = live[0].request("GET", "/metrics")[1]
    subprocess.run([program("promtool"), "check", "metrics"], input=text, text=True, check=True)
