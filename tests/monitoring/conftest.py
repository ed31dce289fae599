"""Fixtures and helpers that run Prometheus and Alertmanager on free ports of the loopback interface."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from model_loader.package.service_file import service
from scripts.monitoring_files import RUNBOOK, dashboard, rules
from tests.app.conftest import start_server as start_server

ROOT = Path(__file__).parents[2]
RULES = rules(service(), RUNBOOK)
DASHBOARD = json.loads(dashboard(service()))
PANELS = DASHBOARD["panels"]
START_TIMEOUT_S = 30
SCRAPE_S = 0.5


def program(*names: str) -> str:
    """Return the path of the first program found; if there is none, skip the test, or fail it in CI."""
    found = [path for path in map(shutil.which, names) if path]
    if not found:
        missing = f"{names[0]} is not installed"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return found[0]


def wait_for(reached: Callable[[], Any], what: str, timeout_s: float = START_TIMEOUT_S) -> Any:
    """Call `reached` until its result is true, and return that result."""
    deadline = time.monotonic() + timeout_s
    while not (value := reached()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)
    return value


def free_port() -> int:
    """Return an unused port of the loopback interface."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    """Run a server, wait for `/-/ready` on the port, and stop the server at the end."""

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return get(port, "/-/ready")[0] == 200
        except (OSError, HTTPException):
            return False

    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for(is_ready, f"{command[0]} ready")
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def get(port: int, path: str) -> tuple[int, str]:
    """Send a GET request; return the response's status and body."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


@dataclass
class Prometheus:
    """A running Prometheus."""

    port: int

    def get(self, path: str) -> Any:
        """Return the `data` of an API response."""
        status, body = get(self.port, f"/api/v1/{path}")
        assert status == 200, body
        return json.loads(body)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Evaluate an expression; return labels and value of each series that is not NaN."""
        result = self.get(f"query?query={quote(expression)}")["result"]
        found = [(item["metric"], float(item["value"][1])) for item in result]
        return [(labels, value) for labels, value in found if value == value]


def shortened(text: str) -> str:
    """Return expressions with 2 s instead of the offsets that alerts have."""
    return re.sub(r"offset (1w|10m)\b", "offset 2s", text)


@contextmanager
def prometheus(
    directory: Path,
    targets: Mapping[int, Mapping[str, str]],
    *,
    monitors: Mapping[int, Mapping[str, str]] | None = None,
    alertmanager: int | None = None,
) -> Iterator[Prometheus]:
    """Run Prometheus with the rules, without `for:` delays, and with offsets of 2 s in alerts.

    Args:
        directory: an empty directory for its files.
        targets: port → labels that a PodMonitor would add to the replica.
        monitors: the same of monitors.
        alertmanager: port of an Alertmanager, if any.
    """
    lines = [line for line in shortened(RULES).splitlines() if not line.strip().startswith("for: ")]
    (directory / "rules.yaml").write_text("\n".join(lines))
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S * 1000:.0f}ms", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [f"127.0.0.1:{port}"], "labels": dict(labels)}
                    for port, labels in of_job.items()
                ],
            }
            for job, of_job in (("demo", targets), ("demo-monitor", monitors or {}))
            if of_job
        ],
    }
    if alertmanager:
        static = [{"targets": [f"127.0.0.1:{alertmanager}"]}]
        config["alerting"] = {"alertmanagers": [{"static_configs": static}]}
    (directory / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    command = [
        program("prometheus"),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, port, directory / "prometheus.log"):
        server = Prometheus(port)
        # `increase` ignores what was counted before the first scrape, so tests start after it.
        expected = len(targets) + len(monitors or {})
        wait_for(lambda: len(server.query("up == 1")) == expected, "every replica scraped")
        yield server


@contextmanager
def alertmanager(directory: Path, webhook: int) -> Iterator[int]:
    """Run an Alertmanager that sends all alerts to a webhook; yield Alertmanager's port.

    Args:
        directory: an empty directory for its files.
        webhook: port of the webhook.
    """
    config = {
        "route": {"receiver": "webhook", "group_by": ["..."], "group_wait": "0s"},
        "receivers": [
            {"name": "webhook", "webhook_configs": [{"url": f"http://127.0.0.1:{webhook}/alerts"}]}
        ],
    }
    (directory / "alertmanager.yml").write_text(json.dumps(config))
    port = free_port()
    command = [
        program("prometheus-alertmanager", "alertmanager"),
        f"--config.file={directory / 'alertmanager.yml'}",
        f"--storage.path={directory / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with running(command, port, directory / "alertmanager.log"):
        yield port
