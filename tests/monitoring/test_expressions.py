"""Every expression of the dashboard and the rules returns data for live services under load."""

import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import yaml

from tests.app.conftest import Server, starting
from tests.monitoring.conftest import (
    DASHBOARD,
    PANELS,
    ROOT,
    RULES,
    Prometheus,
    program,
    prometheus,
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
    ]
    with closing(server.connect()) as connection:
        while not stop.wait(0.05):
            for caller, body in zip(("shop", "shop", "lab", "lab"), bodies, strict=True):
                headers = {"content-type": "application/json", "x-caller": caller}
                connection.request("POST", "/score", json.dumps(body), headers)
                connection.getresponse().read()


def send_half(server: Server) -> None:
    """Send a request with an incomplete body, and wait for its deadline."""
    with closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
        connection.sendall(
            b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 504")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Prometheus]]:
    """A stable replica and a canary under load, and a Prometheus that also has data of a removed replica."""
    directory = tmp_path_factory.mktemp("live")
    variables = {"WEB_CONCURRENCY": "2", "CALLER_HEADER": "x-caller", "REQUEST_TIMEOUT_MS": "300"}
    with starting(directory) as start:
        earlier, stable, canary = servers = [
            start(ROOT / f"model_store/wine/{version}", **variables).wait_until_ready()
            for version in VERSIONS.values()
        ]
        targets = {
            server.port: {"namespace": "ns", "pod": pod, "track": track.replace("earlier", "stable")}
            for pod, track, server in zip("abc", VERSIONS, servers, strict=True)
        }
        with prometheus(directory, targets) as found, loaded(stable), loaded(canary):
            with loaded(earlier):
                for server in servers * 4:
                    send_half(server)
                wait_for(
                    lambda: len(found.query("version:model_output:psi1h")) == 4, "500 values per version"
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
    groups = yaml.safe_load(RULES.read_text())["groups"]
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


@pytest.mark.parametrize("rule", rules("alert"))
def test_alert(live: tuple[Server, Prometheus], rule: dict[str, str]) -> None:
    """Every comparison of an alert has data: with `bool`, it returns 0 or 1 instead of filtering."""
    text = re.sub(r" (==|>=|<=|>|<) ", r" \1 bool ", rule["expr"].replace("offset 1w", "offset 2s"))
    for part in re.split(r"\b(?:and|or|unless)\b", text):
        assert data(live[1], part)


def test_healthy(live: tuple[Server, Prometheus]) -> None:
    """Prometheus evaluates every rule without an error."""
    found = [rule for group in live[1].get("rules")["groups"] for rule in group["rules"]]
    assert len(found) == len(rules("record")) + len(rules("alert"))
    assert {rule["name"]: rule["lastError"] for rule in found if rule["health"] != "ok"} == {}


def test_check_metrics(live: tuple[Server, Prometheus]) -> None:
    """Names, units and help texts of the metrics follow Prometheus' conventions."""
    text = live[0].request("GET", "/metrics")[1]
    subprocess.run([program("promtool"), "check", "metrics"], input=text, text=True, check=True)
