"""The event loop's door shows observers each request, and the tensors of as many as drift needs."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from app import create_app
from app.asgi import BURST_TENSORS, LATER_RECORDS, TENSORS_PER_S, Door
from app.scoring import Reply
from app.settings import Settings
from tests import models
from tests.app.conftest import ReadLog
from tests.conftest import write_package

REQUESTS = BURST_TENSORS + LATER_RECORDS
BODY = b'{"inputs": [[1, 2]]}'


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A model whose two outputs a row are counted."""
    baseline = {"outputs": {"y": {"edges": [0, 100], "shares": [1]}}}
    return write_package(tmp_path, models.affine(), baseline=baseline)


@pytest.fixture
def _long(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a test's requests come while the first waits to be seen."""
    monkeypatch.setattr("app.asgi.LATER_S", 60)


async def answer(door: Door, requests: int) -> None:
    """Has a door answer requests."""
    for _ in range(requests):
        reply = door.answer(door.service.routes["/score"], {}, BODY)
        assert (reply if isinstance(reply, Reply) else await reply).status == 200


def answer_once(door: Door, requests: int) -> None:
    """Has a door answer requests, and its observers look at them in the end."""

    async def run() -> None:
        door.observe_later(asyncio.get_running_loop())
        await answer(door, requests)
        door.close()

    asyncio.run(run())


def counted(door: Door) -> float | None:
    """How many values of the output were counted."""
    labels = {"output": "y", "bin": "0..100"}
    return door.service.metrics.registry.get_sample_value("model_output_bin_total", labels)


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("requests", [1, BURST_TENSORS, REQUESTS])
def test_sample(settings: Settings, log: ReadLog, requests: int) -> None:
    """Every request is counted and logged; of very many drift counts the first ones' values."""
    door = Door(create_app(settings))
    answer_once(door, requests)
    value = door.service.metrics.registry.get_sample_value
    assert value("model_requests_total", {"status": "200", "caller": "anonymous"}) == requests
    assert value("model_encode_duration_seconds_count") == requests
    assert value("model_batch_rows_count") == requests
    assert counted(door) == 2 * min(requests, BURST_TENSORS)
    assert len({line["id"] for line in log()}) == requests


@pytest.mark.usefixtures("_long")
def test_sample_beside_refused(settings: Settings) -> None:
    """Requests that the model did not answer take no place in the sample."""
    door = Door(create_app(settings))

    async def run() -> None:
        door.observe_later(asyncio.get_running_loop())
        for _ in range(REQUESTS):
            reply = door.answer(door.service.routes["/score"], {}, b"{")
            assert isinstance(reply, Reply)
            assert reply.status == 400
        await answer(door, 3)
        door.close()

    asyncio.run(run())
    assert counted(door) == 2 * 3


@pytest.mark.usefixtures("_long")
def test_all_payloads(settings: Settings, log: ReadLog) -> None:
    """A log that shows payloads shows those of all."""
    door = Door(create_app(replace(settings, log_payloads="on")))
    answer_once(door, REQUESTS)
    lines = log()
    assert len(lines) == REQUESTS
    payloads = {(line["inputs"], line["outputs"]) for line in lines}
    assert payloads == {('{"x":[[1.0,2.0]]}', '{"y":[[3.0,5.0]]}')}


def test_refill(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a burst drift counts as many as the time since then allows."""
    now = 0.0
    monkeypatch.setattr("app.asgi.monotonic", lambda: now)
    door = Door(create_app(settings))

    async def run() -> None:
        nonlocal now
        door.observe_later(asyncio.get_running_loop())
        await answer(door, REQUESTS)
        door.close()
        now += 3.5 / TENSORS_PER_S
        await answer(door, 5)
        door.close()
        assert counted(door) == 2 * (BURST_TENSORS + 3)
        now += 3600
        await answer(door, REQUESTS)
        door.close()

    asyncio.run(run())
    assert counted(door) == 2 * (BURST_TENSORS + 3 + BURST_TENSORS)
