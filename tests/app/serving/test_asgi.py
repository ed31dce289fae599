"""The event loop's door shows observers each request, and the tensors of as many as drift needs."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import create_app
from app.observability.request_record import RecordBatch, RequestRecord
from app.scoring.scorer import Reply
from app.serving.asgi import AsgiApp
from app.serving.observer_buffer import BURST_TENSORS, LATER_RECORDS, LATER_S, TENSORS_PER_S
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
    monkeypatch.setattr("app.serving.observer_buffer.LATER_S", 60)


async def answer(door: AsgiApp, requests: int) -> None:
    """Has a door answer requests."""
    for _ in range(requests):
        reply = door.answer(door.service.routes["/score"], {}, BODY)
        assert (reply if isinstance(reply, Reply) else await reply).status == 200


def answer_once(door: AsgiApp, requests: int) -> None:
    """Has a door answer requests, and its observers look at them in the end."""

    async def run() -> None:
        door.enable_buffering(asyncio.get_running_loop())
        await answer(door, requests)
        door.close()

    asyncio.run(run())


def counted(door: AsgiApp) -> float:
    """How many values of the output were counted."""
    labels = {"output": "y", "bin": "0..100"}
    return door.service.metrics.registry.get_sample_value("model_output_bin_total", labels) or 0.0


def watched(settings: Settings) -> tuple[AsgiApp, list[RequestRecord]]:
    """A door, and the requests that its observer was shown."""
    app = create_app(settings)
    seen: list[RequestRecord] = []

    def observe(records: RecordBatch) -> None:
        seen.extend(records)

    app.extensions["scorebox"].scorer.observers = [observe]
    return AsgiApp(app), seen


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("requests", [1, BURST_TENSORS, REQUESTS])
def test_sample(settings: Settings, log: ReadLog, requests: int) -> None:
    """Every request is counted and logged; of very many drift counts a burst and some more."""
    door = AsgiApp(create_app(settings))
    answer_once(door, requests)
    value = door.service.metrics.registry.get_sample_value
    assert value("model_requests_total", {"status": "200", "caller": "anonymous"}) == requests
    assert value("model_encode_duration_seconds_count") == requests
    assert value("model_batch_rows_count") == requests
    values = counted(door)
    assert values == 2 * requests if requests <= BURST_TENSORS else 2 * BURST_TENSORS <= values < 2 * requests
    assert len({line["id"] for line in log()}) == requests


@pytest.mark.usefixtures("_long")
def test_sample_of_several_shown(settings: Settings) -> None:
    """A burst is counted whole that is shown in several parts."""
    door = AsgiApp(create_app(settings))

    async def run() -> None:
        door.enable_buffering(asyncio.get_running_loop())
        for _ in range(BURST_TENSORS // LATER_RECORDS):
            await answer(door, LATER_RECORDS)
            await asyncio.sleep(0)
        door.close()

    asyncio.run(run())
    assert counted(door) == 2 * BURST_TENSORS


@pytest.mark.usefixtures("_long")
def test_sample_beside_refused(settings: Settings) -> None:
    """Requests that the model did not answer take no place in the sample."""
    door = AsgiApp(create_app(settings))

    async def run() -> None:
        door.enable_buffering(asyncio.get_running_loop())
        for _ in range(2 * BURST_TENSORS):
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
    door = AsgiApp(create_app(replace(settings, log_payloads="on")))
    answer_once(door, REQUESTS)
    lines = log()
    assert len(lines) == REQUESTS
    payloads = {(line["inputs"], line["outputs"]) for line in lines}
    assert payloads == {('{"x":[[1.0,2.0]]}', '{"y":[[3.0,5.0]]}')}


def test_fair_sample(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests that come thirty together the last are as likely in the sample as the first."""
    now = 0.0
    monkeypatch.setattr("app.serving.observer_buffer.monotonic", lambda: now)
    # The chance settles sooner.
    monkeypatch.setattr("app.serving.observer_buffer.BURST_TENSORS", 256)
    together, tick_s, ticks, unsettled = 30, 10 / TENSORS_PER_S, 400, 100
    door, seen = watched(settings)

    async def run() -> None:
        nonlocal now
        door.enable_buffering(asyncio.get_running_loop())
        for _ in range(ticks):
            await answer(door, together)
            door.close()
            now += tick_s

    asyncio.run(run())
    kept = np.array([record.inputs is not None for record in seen]).reshape(ticks, together)[unsettled:]
    first, last = kept[:, :10].sum(), kept[:, -10:].sum()
    assert 0.7 < last / first < 1.4
    assert 0.8 < kept.sum() / (TENSORS_PER_S * tick_s * len(kept)) < 1.25


def test_refill(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """When requests have been few for a while a burst is counted whole again."""
    now = 0.0
    monkeypatch.setattr("app.serving.observer_buffer.monotonic", lambda: now)
    door = AsgiApp(create_app(settings))

    async def run() -> None:
        nonlocal now
        door.enable_buffering(asyncio.get_running_loop())
        await answer(door, 2 * REQUESTS)
        door.close()
        before = counted(door)
        now += 2 * BURST_TENSORS / TENSORS_PER_S
        await answer(door, BURST_TENSORS)
        door.close()
        assert counted(door) == before + 2 * BURST_TENSORS

    asyncio.run(run())


@pytest.mark.parametrize("burst", [BURST_TENSORS, 16])
def test_shown_in_time(settings: Settings, monkeypatch: pytest.MonkeyPatch, burst: int) -> None:
    """A request is shown without another coming after it, whether the next in the sample is near or far."""
    monkeypatch.setattr("app.serving.observer_buffer.BURST_TENSORS", burst)
    monkeypatch.setattr("app.serving.observer_buffer.random", lambda: 0.999)
    door, seen = watched(settings)

    async def run() -> None:
        door.enable_buffering(asyncio.get_running_loop())
        await answer(door, 40)
        assert not seen
        await asyncio.sleep(4 * LATER_S)
        assert len(seen) == 40
        await answer(door, 1)
        await asyncio.sleep(4 * LATER_S)
        assert len(seen) == 41

    asyncio.run(run())


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("burst", [BURST_TENSORS, LATER_RECORDS // 32])
def test_shown_when_many(settings: Settings, monkeypatch: pytest.MonkeyPatch, burst: int) -> None:
    """So many requests are shown at once, however fast they come and however few keep their tensors."""
    monkeypatch.setattr("app.serving.observer_buffer.BURST_TENSORS", burst)
    door, seen = watched(settings)

    async def run() -> None:
        door.enable_buffering(asyncio.get_running_loop())
        await answer(door, LATER_RECORDS - 1)
        await asyncio.sleep(0)
        assert not seen
        await answer(door, 1)
        await asyncio.sleep(0)
        assert len(seen) == LATER_RECORDS
        await answer(door, LATER_RECORDS)
        await asyncio.sleep(0)
        assert len(seen) == 2 * LATER_RECORDS

    asyncio.run(run())


@pytest.mark.usefixtures("_long")
def test_shown_when_large(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests whose bodies and outputs are large are shown sooner."""
    monkeypatch.setattr("app.serving.observer_buffer.LATER_BYTES", 3 * len(BODY))
    door, seen = watched(settings)

    async def run() -> None:
        door.enable_buffering(asyncio.get_running_loop())
        await answer(door, 2)
        await asyncio.sleep(0)
        assert not seen
        await answer(door, 1)  # with the outputs it is more than three bodies
        await asyncio.sleep(0)
        assert len(seen) == 3

    asyncio.run(run())


def test_close_ends_timer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed door leaves nothing to the loop."""
    door, seen = watched(settings)
    timers: list[asyncio.TimerHandle] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        call_later = loop.call_later

        def noted(*args: Any) -> asyncio.TimerHandle:
            timers.append(call_later(*args))
            return timers[-1]

        monkeypatch.setattr(loop, "call_later", noted)
        door.enable_buffering(loop)
        await answer(door, 1)
        door.close()

    asyncio.run(run())
    assert len(seen) == 1
    assert [timer.cancelled() for timer in timers] == [True]
