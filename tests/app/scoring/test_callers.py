"""Callers: names come from a header of the proxy in front, and their number is bounded."""

import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from app import create_app
from app.scoring.callers import MAX_CALLERS, Callers
from app.settings import Settings
from tests.app.conftest import StartServer
from tests.conftest import MakeClient

XFCC = "x-forwarded-client-cert"


@pytest.mark.parametrize(
    ("value", "caller"),
    [
        ("web", "web"),
        ("spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/sa/web"),
        ("By=spiffe://c/ns/a/sa/us;Hash=1f;URI=spiffe://c/ns/b/sa/them", "spiffe://c/ns/b/sa/them"),
        ('Hash=1f;URI=spiffe://c/far,Hash=2e;Subject="CN=x";URI=spiffe://c/near', "spiffe://c/near"),
        ('Hash=1;Subject="CN=a,URI=spiffe://evil,O=b"', "other"),
        ("", "anonymous"),
        ('a"b', "other"),
        ("a b", "other"),
        ("a" * 101, "other"),
        ("é", "other"),
    ],
)
def test_name(value: str, caller: str) -> None:
    """A caller is a name or the identity in a forwarded certificate; an invalid one is `other`."""
    assert Callers(header=XFCC).caller({XFCC: value}) == caller


def test_number_is_bounded() -> None:
    """Invented names exhaust no memory, here or in Prometheus, and the first callers keep their names."""
    callers = Callers(header="x-caller")
    names = {callers.caller({"x-caller": f"c{i}"}) for i in range(10 * MAX_CALLERS)}
    assert len(names) == MAX_CALLERS + 1
    assert callers.caller({"x-caller": "c0"}) == "c0"


def test_workers_share_names(tmp_path: Path) -> None:
    """The limit is one for all workers, also those that start later, and all know the same names."""
    workers = [Callers(header="x-caller", directory=tmp_path) for _ in range(4)]
    headers = [{"x-caller": f"c{number}"} for number in range(3 * MAX_CALLERS)]
    with ThreadPoolExecutor(4) as executor:
        results = [*executor.map(lambda worker: [worker.caller(each) for each in headers], workers)]
    names = {name for result in results for name in result} - {"other"}
    assert len(names) == MAX_CALLERS
    workers.append(Callers(header="x-caller", directory=tmp_path))
    for worker in workers:
        assert {worker.caller(each) for each in headers} == names | {"other"}
        assert all(worker.caller({"x-caller": name}) == name for name in names)


def test_names_cannot_be_shared(tmp_path: Path) -> None:
    """A new caller whose name cannot be written is `other`, and the known ones keep their names."""
    callers = Callers(header="x-caller", directory=tmp_path / "run")
    (tmp_path / "run").mkdir()
    assert callers.caller({"x-caller": "known"}) == "known"
    (tmp_path / "run").rename(tmp_path / "moved")
    assert callers.caller({"x-caller": "new"}) == "other"
    assert callers.caller({"x-caller": "known"}) == "known"


def test_reload(package: Path, start_server: StartServer) -> None:
    """A service that is reloaded, and whose workers are replaced, has no more than the first 100 callers."""
    server = start_server(package, WEB_CONCURRENCY="2", CALLER_HEADER="x-caller").wait_until_ready()
    for begin in (0, 60, 120):
        for number in range(begin, begin + 60):
            with closing(server.connect()) as connection:
                headers = {"content-type": "application/json", "x-caller": f"c{number}"}
                connection.request("POST", "/score", '{"inputs": [[1, 2]]}', headers)
                assert connection.getresponse().status == 200
        before = set(server.workers())
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while len(server.workers()) != 2 or before & set(server.workers()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    text = server.request("GET", "/metrics")[1]
    callers = set(re.findall(r'^model_requests_total\{caller="(\w+)"', text, re.MULTILINE))
    assert callers == {"other", *(f"c{number}" for number in range(MAX_CALLERS))}
    assert server.stop() == 0


def test_metrics(settings: Settings, make_client: MakeClient) -> None:
    """Requests are counted under the caller in the configured header; other headers are ignored."""
    client = make_client(create_app(replace(settings, caller_header="x-caller")))
    client.post("/score", json={"inputs": [[1, 2]]}, headers={"X-Caller": "shop"})
    client.post("/score", json={"inputs": [[1, 2]]}, headers={"X-Other": "bank"})
    text = client.get("/metrics").text
    assert 'model_requests_total{caller="shop",status="200"} 1.0' in text
    assert 'model_requests_total{caller="anonymous",status="200"} 1.0' in text
