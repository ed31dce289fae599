"""A real server: gunicorn as `scripts/serve` starts it, on a free port."""

import http.client
import json
import logging
import os
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

from app.observability.logging import logger

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 30


@dataclass
class Server:
    """A running service, its port and what it has printed."""

    process: subprocess.Popen[str]
    log: Path
    port: int = 0

    def wait_until_ready(self) -> "Server":
        """Reads the port from the line that says what is served, and waits for readiness."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            line = next((line for line in self.lines() if line["message"].startswith("serving ")), None)
            if line:
                self.port = int(line["message"].partition(" on port ")[2].split()[0])
                return self
            time.sleep(0.02)
        raise AssertionError(f"the service did not start:\n{self.log.read_text()}")

    def lines(self) -> list[Any]:
        """The log lines so far."""
        complete = self.log.read_text().rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in complete if line.startswith("{")]

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept alive."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """One request on a connection of its own: status and body."""
        data = None if body is None else json.dumps(body)
        with closing(self.connect()) as connection:
            connection.request(method, path, data, {"content-type": "application/json"})
            reply = connection.getresponse()
            return reply.status, reply.read().decode()

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Ends the service and gives its exit code."""
        self.process.send_signal(sig)
        return self.process.wait(timeout=40)


StartServer = Callable[..., Server]
ReadLog = Callable[[], list[Any]]


@pytest.fixture
def log(capfd: pytest.CaptureFixture[str]) -> Iterator[ReadLog]:
    """Reads the log lines of requests, of every level, since it was asked last."""
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    logger.setLevel(logging.NOTSET)


@contextmanager
def starting(directory: Path) -> Iterator[StartServer]:
    """Starts gunicorn with a model, settings given as their variables; ends what it started.

    Another application than the service's can be named.
    """
    servers: list[Server] = []

    def start(model_path: Path, application: str | None = None, **variables: str) -> Server:
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
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *([application] if application else [])],
                cwd=ROOT,
                env=environ,
                stdout=output,
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
    """Starts gunicorn with a model; settings are given as their variables."""
    with starting(tmp_path) as start:
        yield start
