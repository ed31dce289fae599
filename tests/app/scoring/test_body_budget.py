"""The memory for request bodies: what does not fit is refused, and nothing stays reserved."""

import asyncio
import gzip
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.errors import DeadlineExceeded, MemoryExhausted
from app.scoring.body_budget import UNCOUNTED_BYTES, BodyBudget, Reservation
from app.scoring.scorer import Response, Route, Scorer
from tests import models
from tests.conftest import MakeClient

JSON = {"content-type": "application/json"}
BODY = b'{"inputs": [[1, 2]]}'
LARGE = BODY.ljust(60_000)


@dataclass
class Request:
    """A request that fails if its body is read, or that brings its body in parts, and then waits."""

    route: Route
    headers: dict[str, str]
    parts: list[bytes] = field(default_factory=list)
    address: str = ""

    async def body(self, max_bytes: int, deadline: float, reserve: Callable[[int], None] | None) -> bytes:
        assert self.parts, "the body was read"
        for part in self.parts:
            if reserve:
                reserve(len(part))
        return b"".join(self.parts)

    async def wait(self, future: Future[Any], deadline: float) -> Any:
        return future.result(10)


@pytest.fixture
def scorer(serve: MakeClient) -> Scorer:
    """Return the scorer of a service with memory for 100,000 bytes."""
    client = serve(models.affine(), max_body_bytes=60_000, max_in_flight_bytes=100_000)
    result: Scorer = client.application.extensions["service"].scorer
    return result


def send(scorer: Scorer, headers: dict[str, str], *parts: bytes) -> Response:
    """Return the response to a request."""
    return asyncio.run(scorer.answer(Request(scorer_route(scorer), JSON | headers, list(parts))))


def scorer_route(scorer: Scorer) -> Route:
    from app.protocols import score

    return Route(score, "/score")


def test_announced(scorer: Scorer) -> None:
    """A body whose announced length does not fit is refused before it is read."""
    scorer.body_budget.reserve(50_000)
    response = send(scorer, {"content-length": "50001"})
    assert (response.status, response.headers["retry-after"]) == (503, "1")
    assert b"the bodies of other requests fill the memory" in response.body
    scorer.body_budget.release(1)
    assert send(scorer, {"content-length": "50000"}, LARGE[:50_000]).status == 200


def test_not_announced(scorer: Scorer) -> None:
    """A body without announced length is counted while it arrives."""
    scorer.body_budget.reserve(50_000)
    assert send(scorer, {}, LARGE[:30_000], LARGE[30_000:]).status == 503
    assert send(scorer, {}, LARGE[:30_000]).status == 200


def test_decompressed(scorer: Scorer) -> None:
    """What a body decompresses to is counted too."""
    scorer.body_budget.reserve(50_000)
    data = gzip.compress(LARGE)
    assert len(data) < UNCOUNTED_BYTES
    headers = {"content-encoding": "gzip", "content-length": str(len(data))}
    assert send(scorer, headers, data).status == 503
    scorer.body_budget.release(10_000)
    assert send(scorer, headers, data).status == 200


@pytest.mark.parametrize("body", [LARGE, LARGE[:-1] + b"x", b"{".ljust(60_000)])
def test_released(scorer: Scorer, body: bytes) -> None:
    """Every request returns what it has reserved, however it ends."""
    for coding, data in (
        ("", body),
        ("gzip", gzip.compress(body, 0)[:59_000]),
        ("gzip", gzip.compress(body)),
    ):
        for length in ({}, {"content-length": str(len(data))}):
            send(scorer, length | {"content-encoding": coding}, data)
    scorer.body_budget.reserve(100_000)
    with pytest.raises(MemoryExhausted):
        scorer.body_budget.reserve(1)


def test_small_bodies(scorer: Scorer) -> None:
    """A small body of announced length is read even if the memory is full."""
    scorer.body_budget.reserve(100_000)
    assert send(scorer, {"content-length": str(len(BODY))}, BODY).status == 200


def test_threads() -> None:
    """Threads that reserve and release at the same time lose no byte."""
    budget = BodyBudget(1000)

    def use() -> None:
        for _ in range(10_000):
            budget.reserve(100)
            budget.release(100)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    budget.reserve(1000)


def test_refusal_is_counted(scorer: Scorer, serve: MakeClient) -> None:
    """The refusal has a reason of its own in the metrics."""
    client: FlaskClient = serve(models.affine(), max_body_bytes=50_000, max_in_flight_bytes=50_000)
    client.application.extensions["service"].scorer.body_budget.reserve(1)
    assert client.post("/score", data=LARGE[:50_000], headers=JSON).status_code == 503
    assert 'model_rejected_total{reason="memory"} 1.0' in client.get("/metrics").text


def test_released_reservation() -> None:
    """A thread that still decompresses when its request has ended takes nothing from the budget any more."""
    budget = BodyBudget(100)
    reservation = Reservation(budget)
    reservation.grow(60)
    reservation.release()
    with pytest.raises(DeadlineExceeded):
        reservation.grow(60)
    reservation.release()
    budget.reserve(100)
    with pytest.raises(MemoryExhausted):
        budget.reserve(1)
