"""Counts what is lost while workers are reloaded, killed and stopped under load, and what slow clients cost.

`./scripts/bench soak`: exit code 1 if a request was lost or answered wrongly, or slow clients cost too much.
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
from benchmarks.server import Field, Server, Setup

CONNECTIONS = 64
WORKERS = 2
RELOADS = 10
DRAIN_S = 2
SILENCE_S = 20
# A killed worker's requests in flight are lost at once; what is lost later than this was not in flight.
KILL_S = 1.0
SLOW_CLIENTS = 500
SLOWER = 1.5
SETTLE_S = 1.0
ROUNDS = 5
HEAD = re.compile(rb"HTTP/1\.1 200 .*?\r\ncontent-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL | re.IGNORECASE)
Event = Callable[[], str]
OUTPUTS = re.compile(rb'\{"outputs":.*?,"id"')


class Client:
    """One connection after another, each with one request on its way."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request, self._data = port, request, b""
        self.connect()

    def connect(self) -> None:
        """A new connection, and its first request."""
        self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=SILENCE_S)
        self.send()

    def send(self) -> None:
        """The next request."""
        self._data = b""
        self.socket.sendall(self._request)

    def receive(self) -> tuple[bytes, bool] | None:
        """An answer's outputs, and whether the connection was announced to end; None while it is not whole.

        Raises:
            OSError: the connection ended without an answer.
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
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser("bench soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="default: 1000000")
    args = parser.parse_args(argv)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    setup = Setup("trees", workers=WORKERS, environ={"DRAIN_DELAY_S": str(DRAIN_S)})
    with tempfile.TemporaryDirectory(prefix="soak-") as work:
        field = Field(Path(work), cores[0])
        try:
            with field.serving("scorebox", setup) as server:
                counts = endure(server, args.requests)
            with field.serving("scorebox", Setup("trees")) as server:
                alone, beside = slow_clients(server)
        except BenchmarkError as exc:
            print(f"soak: {exc}", file=sys.stderr)
            return 1
    print(
        f"answered {counts['answered']:,} over {CONNECTIONS} connections, {RELOADS} reloads, 1 kill, 1 stop"
    )
    print(
        f"wrong {counts['wrong']}, lost {counts['lost']}, in flight on the killed worker {counts['killed']}"
    )
    print(
        f"p99 {alone:.2f} ms; beside {SLOW_CLIENTS} slow clients {beside:.2f} ms, {beside / alone:.2f} times"
    )
    is_bad = counts["wrong"] or counts["lost"] or counts["killed"] > CONNECTIONS or beside > SLOWER * alone
    return 1 if is_bad else 0


def endure(server: Server, requests: int) -> Counter[str]:
    """Posts without pause while workers are reloaded and one is killed, and once more while all are stopped.

    Returns:
        how many were answered, wrong, lost, and lost with the killed worker.
    """
    lines = [f"{name}: {value}" for name, value in server.headers.items()]
    head = [f"POST {server.path} HTTP/1.1", "host: a", f"content-length: {len(server.body)}", *lines, "", ""]
    request = "\r\n".join(head).encode() + server.body
    counts: Counter[str] = Counter()
    poll = select.epoll()
    clients = [Client(server.port, request) for _ in range(CONNECTIONS)]
    by_number = {client.socket.fileno(): client for client in clients}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    wanted, events = b"", _events(server, requests)
    due, event = next(events)
    killed_at = float("-inf")
    stopping = False
    while by_number:
        if counts["answered"] >= due:
            name = event()
            killed_at = time.monotonic() if name == "kill" else killed_at
            stopping = name == "stop"
            print(f"{counts['answered']:>9,} answered: {name}", file=sys.stderr)
            due, event = next(events)
        ready = poll.poll(SILENCE_S)
        if not ready:
            raise BenchmarkError(f"no answer for {SILENCE_S} s; {dict(counts)}")
        for number, _ in ready:
            client = by_number[number]
            try:
                answer = client.receive()
                if answer is None:
                    continue
                outputs, closes = answer
                wanted = wanted or outputs
                counts["answered" if outputs == wanted else "wrong"] += 1
                if not closes:
                    client.send()
                    continue
            except OSError:
                counts["killed" if time.monotonic() - killed_at < KILL_S else "lost"] += 1
            client.socket.close()
            del by_number[number]
            if not stopping:
                client.connect()
                by_number[client.socket.fileno()] = client
                poll.register(client.socket.fileno(), select.EPOLLIN)
    poll.close()
    return counts


def _events(server: Server, requests: int) -> Iterator[tuple[float, Event]]:
    """When, by the number of answers, which signal is sent."""

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


def slow_clients(server: Server) -> tuple[float, float]:
    """The p99 of eight connections in ms: alone, and beside clients that send a byte a second."""
    alone, beside = [], []
    closed_loop(server, 8, 1)
    for _ in range(ROUNDS):
        alone.append(closed_loop(server, 8, 3).p99_ms)
        with _dribbling(server):
            beside.append(closed_loop(server, 8, 3).p99_ms)
    return median(alone), median(beside)


@contextmanager
def _dribbling(server: Server) -> Iterator[None]:
    """Connections that send their heads, or their bodies, a byte a second."""
    over = threading.Event()
    head = f"POST {server.path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n".encode()
    sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(SLOW_CLIENTS)]
    for each in sockets[::2]:
        each.sendall(head + b"{")

    def dribble() -> None:
        for position in range(len(head)):
            for number, each in enumerate(sockets):
                each.sendall(b" " if number % 2 == 0 else head[position : position + 1])
                if over.wait(1 / SLOW_CLIENTS):
                    return

    thread = threading.Thread(target=dribble)
    thread.start()
    time.sleep(SETTLE_S)  # what is measured is that they are there, not that they come
    try:
        yield
    finally:
        over.set()
        thread.join()
        for each in sockets:
            each.close()


if __name__ == "__main__":
    sys.exit(main())
