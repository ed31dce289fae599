"""Count lost requests while workers are reloaded, killed and stopped; measure the cost of slow clients.

`./scripts/bench soak` exits with 1 if a request was lost or answered incorrectly, or if slow clients delay
the others too much.
"""

import argparse
import os
import re
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.errors import BenchmarkError
from benchmarks.load import closed_loop
from benchmarks.server import Server, Setup, Workbench

CONNECTIONS = 64
WORKERS = 2
RELOADS = 10
DRAIN_S = 2
TIMEOUT_S = 20
# Requests in flight on a killed worker are lost immediately; a later loss has another cause.
KILL_S = 1.0
SLOW_CLIENTS = 500
MAX_SLOWDOWN = 1.5
CONNECT_S = 1.0
ROUNDS = 5
HEAD = re.compile(rb"HTTP/1\.1 200 .*?\r\ncontent-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL | re.IGNORECASE)
Event = Callable[[], str]
OUTPUTS = re.compile(rb'\{"outputs":.*?,"id"')


class Client:
    """A client with one request in flight, which reconnects when its connection ends."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request, self._data = port, request, b""
        self.connect()

    def connect(self) -> None:
        """Open a new connection and send a request."""
        self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT_S)
        self.send()

    def send(self) -> None:
        """Send the next request."""
        self._data = b""
        self.socket.sendall(self._request)

    def receive(self) -> tuple[bytes, bool] | None:
        """Return the outputs and whether the server closes the connection, or None if incomplete.

        Raises:
            OSError: the connection ended without a response.
        """
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionResetError
        self._data += part
        head = HEAD.match(self._data)
        if head is None and b"\r\n\r\n" in self._data:
            return self._data, True
        if head is None or len(self._data) < head.end() + int(head[1]):
            return None
        outputs = OUTPUTS.match(self._data, head.end())
        return outputs[0] if outputs else self._data, b"onnection: close\r\n" in head[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser("bench soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="default: 1000000")
    args = parser.parse_args(argv)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    setup = Setup("trees", workers=WORKERS, environ={"DRAIN_DELAY_S": str(DRAIN_S)})
    with tempfile.TemporaryDirectory(prefix="soak-") as work:
        workbench = Workbench(Path(work), cores[0])
        try:
            with workbench.serving("service", setup) as server:
                counts = run_soak(server, args.requests)
            with workbench.serving("service", Setup("trees")) as server:
                without_ms, with_ms = measure_slow_clients(server)
        except BenchmarkError as exc:
            print(f"soak: {exc}", file=sys.stderr)
            return 1
    print(
        f"answered {counts['answered']:,} over {CONNECTIONS} connections, {RELOADS} reloads, 1 kill, 1 stop"
    )
    print(
        f"wrong {counts['wrong']}, lost {counts['lost']}, in flight on the killed worker {counts['killed']}"
    )
    slowdown = with_ms / without_ms
    print(f"p99 {without_ms:.2f} ms; with {SLOW_CLIENTS} slow clients {with_ms:.2f} ms, {slowdown:.2f} times")
    is_bad = counts["wrong"] or counts["lost"] or counts["killed"] > CONNECTIONS or slowdown > MAX_SLOWDOWN
    return 1 if is_bad else 0


def run_soak(server: Server, requests: int) -> Counter[str]:
    """Send requests continuously while workers are reloaded, one is killed, and finally all are stopped.

    Returns:
        Requests by outcome: "answered", "wrong", "lost", or "killed" if lost with the killed worker.
    """
    lines = [f"{name}: {value}" for name, value in server.headers.items()]
    head = [f"POST {server.path} HTTP/1.1", "host: a", f"content-length: {len(server.body)}", *lines, "", ""]
    request = "\r\n".join(head).encode() + server.body
    counts: Counter[str] = Counter()
    poll = select.epoll()
    clients = [Client(server.port, request) for _ in range(CONNECTIONS)]
    by_fd = {client.socket.fileno(): client for client in clients}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    expected, events = b"", _events(server, requests)
    due, event = next(events)
    killed_at = float("-inf")
    stopping = False
    while by_fd:
        if counts["answered"] >= due:
            name = event()
            killed_at = time.monotonic() if name == "kill" else killed_at
            stopping = name == "stop"
            print(f"{counts['answered']:>9,} answered: {name}", file=sys.stderr)
            due, event = next(events)
        ready = poll.poll(TIMEOUT_S)
        if not ready:
            raise BenchmarkError(f"no response for {TIMEOUT_S} s; {dict(counts)}")
        for fd, _ in ready:
            client = by_fd[fd]
            try:
                answer = client.receive()
                if answer is None:
                    continue
                outputs, closes = answer
                expected = expected or outputs
                counts["answered" if outputs == expected else "wrong"] += 1
                if not closes:
                    client.send()
                    continue
            except OSError:
                counts["killed" if time.monotonic() - killed_at < KILL_S else "lost"] += 1
            client.socket.close()
            del by_fd[fd]
            if not stopping:
                client.connect()
                by_fd[client.socket.fileno()] = client
                poll.register(client.socket.fileno(), select.EPOLLIN)
    poll.close()
    return counts


def _events(server: Server, requests: int) -> Iterator[tuple[float, Event]]:
    """Yield the number of responses after which to send a signal, and a function that sends it."""

    def send(sig: signal.Signals, name: str, *, to_worker: bool = False) -> Event:
        def act() -> str:
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
            os.kill(int(children[-1]) if to_worker else server.pid, sig)
            return name

        return act

    step = requests / (RELOADS + 2)
    for number in range(1, RELOADS + 1):
        yield number * step, send(signal.SIGHUP, f"reload {number}")
    yield (RELOADS + 1) * step, send(signal.SIGKILL, "kill", to_worker=True)
    yield requests, send(signal.SIGTERM, "stop")
    yield float("inf"), str


def measure_slow_clients(server: Server) -> tuple[float, float]:
    """Return the p99 of eight connections in ms, without and with clients that send a byte per second."""
    without_ms, with_ms = [], []
    closed_loop(server, 8, 1)
    for _ in range(ROUNDS):
        without_ms.append(closed_loop(server, 8, 3).p99_ms)
        with _slow_clients(server):
            with_ms.append(closed_loop(server, 8, 3).p99_ms)
    return median(without_ms), median(with_ms)


@contextmanager
def _slow_clients(server: Server) -> Iterator[None]:
    """Keep connections open that send their heads, or their bodies, a byte per second."""
    over = threading.Event()
    head = f"POST {server.path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n".encode()
    sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(SLOW_CLIENTS)]
    for each in sockets[::2]:
        each.sendall(head + b"{")

    def send_slowly() -> None:
        for position in range(len(head)):
            for number, each in enumerate(sockets):
                each.sendall(b" " if number % 2 == 0 else head[position : position + 1])
                if over.wait(1 / SLOW_CLIENTS):
                    return

    thread = threading.Thread(target=send_slowly)
    thread.start()
    time.sleep(CONNECT_S)  # measure the load of open connections, not of opening them
    try:
        yield
    finally:
        over.set()
        thread.join()
        for each in sockets:
            each.close()


if __name__ == "__main__":
    sys.exit(main())
