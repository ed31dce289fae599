"""A rolling restart of two instances behind nginx, which keeps connections to them open, fails no request."""

import http.client
import random
import socket
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.app.conftest import Server, StartServer
from tests.app.serving.nginx import nginx

pytestmark = pytest.mark.usefixtures("fast_http")
BODY = '{"inputs": [[1, 2]]}'
CLIENTS = 48
RESTARTS, ALL_RESTARTS = 2, 10


class Client(threading.Thread):
    """Sends requests, which nginx does not repeat, with pauses: the number of connections in use changes."""

    def __init__(self, port: int, pause_s: float) -> None:
        super().__init__()
        self.port, self.pause_s = port, pause_s
        self.is_stopped = threading.Event()
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        """Send requests and count the outcomes."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            while not self.is_stopped.wait(self.pause_s):
                try:
                    connection.request("POST", "/score", BODY, {"content-type": "application/json"})
                    response = connection.getresponse()
                    response.read()
                    self.outcomes[str(response.status)] += 1
                except (OSError, http.client.HTTPException) as exc:
                    self.outcomes[repr(exc)] += 1


def lasting_ports(number: int) -> list[int]:
    """Return free ports that the system gives to nobody else while their server is restarted."""
    begin = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    for port in random.sample(range(begin // 2, begin), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found[:number]


@pytest.mark.timeout(600)
def test_rolling_restart(
    package: Path, tmp_path: Path, start_server: StartServer, request: pytest.FixtureRequest
) -> None:
    """Two instances are restarted in turn under load; every request is answered with 200."""

    def start(port: int) -> Server:
        server = start_server(package, WEB_CONCURRENCY="1", PORT=str(port), LOG_SUCCESS_RATIO="0")
        return server.wait_until_ready()

    ports = lasting_ports(2)
    servers = [start(port) for port in ports]
    with nginx(tmp_path / "nginx", ports) as port:
        clients = [Client(port, pause_s=0.01 * (1 + number % 3)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(0.5)
        for _ in range(ALL_RESTARTS if request.config.getoption("--all") else RESTARTS):
            for index, server in enumerate(servers):
                assert server.stop() == 0
                servers[index] = start(server.port)
        for client in clients:
            client.is_stopped.set()
        for client in clients:
            client.join()
    outcomes = sum((client.outcomes for client in clients), Counter[str]())
    assert set(outcomes) == {"200"}
    assert outcomes["200"] > 1000
    assert [server.stop() for server in servers] == [0, 0]
