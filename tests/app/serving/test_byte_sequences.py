"""Byte sequences are answered as the plain ASGI application answers them, directly and behind nginx.

Sequences are chosen; `pytest --all` sends every one of them.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from tests.app.conftest import Server, StartServer
from tests.app.serving.byte_client import Outcome, outcomes
from tests.app.serving.byte_sequences import ByteSequence, sequences
from tests.app.serving.http_cases import MAX_BODY_BYTES
from tests.app.serving.nginx import nginx

CHOSEN = 750
SETTINGS = {
    "WEB_CONCURRENCY": "1",
    "REQUIRE_CONTENT_TYPE": "off",
    "MAX_BODY_BYTES": str(MAX_BODY_BYTES),
    "REQUEST_TIMEOUT_MS": "1000",
    "KEEPALIVE_S": "2",
}


@pytest.fixture
def servers(package: Path, start_server: StartServer) -> Iterator[list[Server]]:
    """Provide a server with FAST_HTTP, and one without; check that they end without a traceback."""
    started = [start_server(package, FAST_HTTP=value, **SETTINGS) for value in ("on", "off")]
    servers = [server.wait_until_ready() for server in started]
    yield servers
    for server in servers:
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def chosen(request: pytest.FixtureRequest) -> list[ByteSequence]:
    """Return the sequences to send."""
    every = sequences()
    return every if request.config.getoption("--all") else Random(1).sample(every, CHOSEN)


async def send_to_both(ports: list[int], chosen: list[ByteSequence]) -> list[tuple[Outcome, Outcome]]:
    """Send sequences to two servers at the same time; return the outcomes of each."""
    both = await asyncio.gather(*(outcomes(port, chosen) for port in ports))
    return list(zip(*both, strict=True))


def misplaced(sequence: ByteSequence, outcome: Outcome) -> bool:
    """Return whether responses are out of order, or one answers the content of a request."""
    numbers = [int(id_.rpartition("-")[2]) for id_ in outcome.ids if id_.removeprefix("head-").isdecimal()]
    return sequence.statuses is not None and (
        "hidden" in outcome.ids or any(low >= high for low, high in pairwise(numbers))
    )


@pytest.mark.timeout(1200)
def test_direct(servers: list[Server], chosen: list[ByteSequence]) -> None:
    """Every sequence has its statuses, with FAST_HTTP and without, and no connection is reset or hangs."""
    both = asyncio.run(send_to_both([server.port for server in servers], chosen))
    wrong = [
        (sequence, *pair)
        for sequence, pair in zip(chosen, both, strict=True)
        if pair[0].statuses != pair[1].statuses
        or sequence.statuses not in (None, pair[0].statuses)
        or any(outcome.end != "closed" or misplaced(sequence, outcome) for outcome in pair)
    ]
    assert not wrong, wrong[:3]


@pytest.mark.timeout(1200)
def test_behind_nginx(servers: list[Server], chosen: list[ByteSequence], tmp_path: Path) -> None:
    """Behind nginx, on connections that clients share, the outcomes are those of the plain application."""
    with ExitStack() as stack:
        ports = [
            stack.enter_context(nginx(tmp_path / f"nginx-{server.port}", [server.port])) for server in servers
        ]
        both = asyncio.run(send_to_both(ports, chosen))
    wrong = [
        (sequence, *pair)
        for sequence, pair in zip(chosen, both, strict=True)
        if pair[0].statuses != pair[1].statuses
        or any(outcome.end in ("open", "reset") or misplaced(sequence, outcome) for outcome in pair)
    ]
    assert not wrong, wrong[:3]
