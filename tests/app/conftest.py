"""Fixtures that start a real server: gunicorn as `scripts/serve` starts it, on a free port."""

import http.client
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.observability.log_writer import writer
from app.observability.logging import logger

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 30


@dataclass
class Server:
    """A service in a process of its own.

    Attributes:
        log: file with its output.
        port: 0 until the service is ready.
    """

    process: subprocess.Popen[str]
    log: Path
    port: int = 0

    def wait_until_ready(self) -> "Server":
        """Wait for the log line of a ready service, and read the port from it."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            line = next((line for line in self.lines() if line["message"].startswith("serving ")), None)
            if line:
                self.port = int(line["message"].partition(" on port ")[2].split()[0])
                return self
            time.sleep(0.02)
        raise AssertionError(f"the service did not start:\n{self.log.read_text()}")

    def lines(self) -> list[Any]:
        """Return the log lines so far."""
        complete = self.log.read_text().rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in complete if line.startswith("{")]

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection, which is kept alive."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Send a request on a connection of its own; return the response's status and body."""
        data = None if body is None else json.dumps(body)
        with closing(self.connect()) as connection:
            connection.request(method, path, data, {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode()

    def metric(self, sample: str) -> float:
        """Return the value of a sample in /metrics, named with its labels; 0 if there is none."""
        text = self.request("GET", "/metrics")[1]
        match = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
        return float(match[1]) if match else 0.0

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Stop the service and return its exit code."""
        self.process.send_signal(sig)
        return self.process.wait(timeout=40)


StartServer = Callable[..., Server]
ReadLog = Callable[[], list[Any]]


@pytest.fixture
def log(capfd: pytest.CaptureFixture[str]) -> Iterator[ReadLog]:
    """Return a function that returns the new log lines of requests, of every level."""

    def lines() -> list[Any]:
        writer.flush()
        return [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    writer.flush()  # the lines of earlier tests
    capfd.readouterr()
    logger.setLevel(logging.DEBUG)
    yield lines
    logger.setLevel(logging.NOTSET)


@contextmanager
def starting(directory: Path) -> Iterator[StartServer]:
    """Provide a function that starts gunicorn, and kill what still runs at the end.

    Its arguments are the model's path, optionally an application other than the service's, a file descriptor
    for the output instead of the log, and settings as environment variables.
    """
    servers: list[Server] = []

    def start(
        model_path: Path, application: str | None = None, output: int | None = None, **variables: str
    ) -> Server:
        log = directory / f"server-{len(servers)}.log"
        environ = os.environ | {
            "HOST": "127.0.0.1",
            "PORT": "0",
            "MODEL_PATH": str(model_path),
            "TMPDIR": str(directory),
            "PYTHONUNBUFFERED": "1",
            "DRAIN_DELAY_S": "1",
            **variables,
        }
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *([application] if application else [])],
                cwd=ROOT,
                env=environ,
                stdout=file if output is None else output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        servers.append(Server(process, log))
        return servers[-1]

    try:
        yield start
    finally:
        for server in servers:
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Return a function that starts gunicorn with a model and settings, as `starting` describes."""
    with starting(tmp_path) as start:
        yield start
