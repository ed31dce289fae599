"""A real service and a real shipper under load: every row is in the store once, or counted."""

import gzip
import http.client
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from model_loader.store import open_store
from monitor.database import open_database, rows
from monitor.lake import Lake
from monitor.ship import ship_once
from tests.app.conftest import Server, starting
from tests.model_loader.faulty_proxy import Faults, Upload, faulty_proxy

ROOT = Path(__file__).parents[2]
KILLS, ALL_KILLS = 5, 100
# In seconds; the longer one with --all.
OUTAGE_S, LONG_OUTAGE_S = 2, 600
CLIENTS = 4
ROWS = 3
BODY = json.dumps({"inputs": [[1, 2]] * ROWS})
REFUSED = json.dumps({"inputs": [["x", 2]]})
SEED = 7


class Client(threading.Thread):
    """Sends scoring requests until it is stopped; every seventh is refused.

    Attributes:
        answered: prediction id → when the response was received, of the monotonic clock.
    """

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self.is_stopped = threading.Event()
        self.answered: dict[str, float] = {}

    def run(self) -> None:
        """Send requests, each again on a new connection if it fails."""
        bodies = itertools.cycle((BODY,) * 6 + (REFUSED,))
        while not self.is_stopped.is_set():
            with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)) as connection:
                while not self.is_stopped.wait(0.005):
                    headers = {"content-type": "application/json"}
                    try:
                        connection.request("POST", "/score", next(bodies), headers)
                        response = connection.getresponse()
                        response.read()
                    except (OSError, http.client.HTTPException):
                        break  # the worker was killed
                    self.answered[response.headers["x-prediction-id"]] = time.monotonic()


@contextmanager
def loading(port: int) -> Iterator[dict[str, float]]:
    """Send requests in the block; yield what is answered, which is complete after it."""
    clients = [Client(port) for _ in range(CLIENTS)]
    answered: dict[str, float] = {}
    for client in clients:
        client.start()
    try:
        yield answered
    finally:
        for client in clients:
            client.is_stopped.set()
        for client in clients:
            client.join()
            answered |= client.answered


class FileStore:
    """A directory as the store; it is a link, which points to no directory while the store is away."""

    def __init__(self, directory: Path) -> None:
        self._link, self._real, self._away = directory / "captured", directory / "real", directory / "away"
        self._real.mkdir()
        self._away.touch()
        self.set_away(is_away=False)
        self.url = self.real_url = f"file:{self._link}"

    def set_away(self, *, is_away: bool) -> None:
        """Take the store away, or bring it back, at once."""
        new = self._link.with_suffix(".new")
        new.symlink_to(self._away if is_away else self._real)
        new.replace(self._link)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Take the store away half of the time."""
        is_stopped = threading.Event()

        def alternate() -> None:
            for is_away in itertools.cycle((True, False)):
                self.set_away(is_away=is_away)
                if is_stopped.wait(0.15):
                    break
            self.set_away(is_away=False)

        thread = threading.Thread(target=alternate)
        thread.start()
        try:
            yield
        finally:
            is_stopped.set()
            thread.join()


class BlobStore:
    """A container in Azurite behind a proxy that cuts half of the uploads, before or after they arrive."""

    def __init__(self, real_url: str, url: str, faults: Faults) -> None:
        self.real_url, self.url, self._faults = real_url, url, faults

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Cut half of the uploads."""
        generator = random.Random(SEED)
        choices: list[Upload] = ["forward", "before", "forward", "after"]
        self._faults.uploads = iter(lambda: generator.choice(choices), None)
        try:
            yield
        finally:
            self._faults.uploads = itertools.repeat("forward")


@pytest.fixture(params=["file", "blob"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileStore | BlobStore]:
    """An empty store of each kind."""
    if request.param == "file":
        yield FileStore(tmp_path)
        return
    container, faults = request.getfixturevalue("container"), Faults()
    with faulty_proxy(f"{container.url}/team", faults) as url:
        yield BlobStore(f"{container.url}/team", url, faults)


class Shipper:
    """`python -m monitor ship`, started again after each kill."""

    def __init__(self, spool: Path, url: str) -> None:
        self._log = spool.parent / "shipper.log"
        self._command = [sys.executable, "-m", "monitor", "ship", "--spool", str(spool), "--captured", url]
        self._command += ["--interval", "0.2", "--grace", "10"]
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=log, stdout=log
            )

    def kill(self) -> None:
        """Kill it wherever it is."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start it again."""
        self.process = self._start()


@contextmanager
def shipping(spool: Path, url: str) -> Iterator[Shipper]:
    """Run a shipper, and kill it at the end if it still runs."""
    shipper = Shipper(spool, url)
    try:
        yield shipper
    finally:
        if shipper.process.poll() is None:
            shipper.kill()


def stored(url: str, workspace: Path) -> Counter[tuple[str, int]]:
    """Return (id, row) → how often it is in the segments of a store, all of whose lines must be rows."""
    found: Counter[tuple[str, int]] = Counter()
    opened = open_store(url)
    for name in opened.names("v1/"):
        for line in gzip.decompress(b"".join(opened.chunks(name))).splitlines():
            row = json.loads(line)
            found[row["id"], row["row"]] += 1
    with open_database(Lake(url, workspace / "cache"), ["tiny"]) as connection:
        assert rows(connection, "SELECT count(*) FROM predictions") == [(len(found),)]
    return found


def start_service(stack: ExitStack, directory: Path, package: Path, **settings: str) -> Server:
    """Start a service with two workers that captures into `spool`."""
    start = stack.enter_context(starting(directory))
    settings = {"WEB_CONCURRENCY": "2", "CAPTURE_SEGMENT_S": "1", "LOG_SUCCESS_RATIO": "0", **settings}
    return start(package, CAPTURE_DIR=str(directory / "spool"), **settings).wait_until_ready()


@pytest.mark.timeout(900)
def test_kills(
    store: FileStore | BlobStore, tmp_path: Path, package: Path, request: pytest.FixtureRequest
) -> None:
    """Whatever is killed, rows are there once, but for those of the last second of a killed worker."""
    generator = random.Random(SEED)
    killed: list[float] = []
    with ExitStack() as stack:
        server = start_service(stack, tmp_path, package)
        shipper = stack.enter_context(shipping(tmp_path / "spool", store.url))
        with store.failing(), loading(server.port) as answered:
            for _ in range(ALL_KILLS if request.config.getoption("--all") else KILLS):
                time.sleep(0.3 + generator.random())
                if generator.random() < 0.5 and (workers := server.workers()):
                    os.kill(generator.choice(workers), signal.SIGKILL)
                    killed.append(time.monotonic())
                else:
                    shipper.kill()
                    shipper.restart()
            time.sleep(1)
        assert server.stop() == 0
        shipper.kill()
        assert ship_once(tmp_path / "spool", open_store(store.real_url)).failure is None
    assert not [path for path in (tmp_path / "spool").rglob("*.jsonl*") if path.stat().st_size]
    found = stored(store.real_url, tmp_path)
    assert set(found.values()) == {1}
    ids = {id_ for id_, _ in found}
    missing = [moment for id_, moment in answered.items() if id_ not in ids]
    assert len(missing) < len(answered)
    assert not [moment for moment in missing if not any(-1 <= moment - each <= 0.1 for each in killed)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", ["none", "disk full", "store away", "shipper killed"])
def test_every_request_is_counted(
    fault: str, tmp_path: Path, package: Path, request: pytest.FixtureRequest
) -> None:
    """Captured and dropped requests are those that were answered, and those captured are in the store."""
    store = FileStore(tmp_path)
    is_long = fault == "store away" and request.config.getoption("--all")
    settings = {"CAPTURE_MAX_BYTES": "1048576" if fault == "disk full" else "4294967296"}
    with ExitStack() as stack:
        server = start_service(stack, tmp_path, package, **settings)
        shipper = stack.enter_context(shipping(tmp_path / "spool", store.url))
        store.set_away(is_away=fault in ("disk full", "store away"))
        if fault == "disk full":  # but for the last bytes
            (tmp_path / "spool/filler").write_bytes(bytes(1048576 - 100_000))
        with loading(server.port) as answered:
            time.sleep(1)
            if fault == "shipper killed":
                shipper.kill()
            time.sleep(LONG_OUTAGE_S if is_long else OUTAGE_S)
        outcomes = wait_for_outcomes(server, len(answered))
        store.set_away(is_away=False)
        assert server.stop() == 0
        shipper.kill()
        assert ship_once(tmp_path / "spool", open_store(store.url)).failure is None
    ids = {id_ for id_, _ in stored(store.real_url, tmp_path)}
    assert sum(outcomes.values()) == len(answered)
    # On a full disk none may fit: what a worker has buffered is written or dropped as a whole.
    assert outcomes["captured"] == len(ids)
    assert ids <= answered.keys()
    if fault == "disk full":
        assert outcomes["disk_full"] > 0
    else:
        assert outcomes == {"captured": len(answered)}


def wait_for_outcomes(server: Server, requests: int) -> Counter[str]:
    """Return outcome → number of requests, when all are counted: workers count once a second."""
    deadline = time.monotonic() + 10
    while True:
        text = server.request("GET", "/metrics")[1]
        found = re.findall(r'^capture_requests_total\{outcome="(\w+)"\} (\S+)$', text, re.MULTILINE)
        outcomes = Counter({outcome: int(float(value)) for outcome, value in found if float(value)})
        if sum(outcomes.values()) >= requests or time.monotonic() > deadline:
            return outcomes
        time.sleep(0.2)
