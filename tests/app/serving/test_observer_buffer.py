"""Observers are notified of finished requests in small batches."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
import uvloop

from app.observability.request_record import MAX_BATCH, RequestRecord
from app.serving.observer_buffer import FLUSH_BYTES, FLUSH_S, ObserverBuffer


class Recorder:
    """An observer that keeps the batches that it gets."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, records: Sequence[RequestRecord]) -> None:
        self.batches.append([record.id for record in records])


def record(number: int, body_bytes: int = 0) -> RequestRecord:
    return RequestRecord(f"{number}", 0.0, "/score", inputs={}, outputs={}, body_bytes=body_bytes)


def always() -> bool:
    return True


def test_after_a_moment() -> None:
    """A request is passed on without another one following it."""
    seen = Recorder()

    async def run() -> None:
        buffer = ObserverBuffer([seen], always)
        for number in range(3):
            buffer.append(record(number))
        assert not seen.batches
        await asyncio.sleep(4 * FLUSH_S)
        assert seen.batches == [["0", "1", "2"]]
        buffer.append(record(3))
        await asyncio.sleep(4 * FLUSH_S)
        assert seen.batches[1:] == [["3"]]

    uvloop.run(run())


def test_when_many() -> None:
    """A full batch is passed on in the next turn of the loop, after the response is written."""
    seen = Recorder()

    async def run() -> None:
        buffer = ObserverBuffer([seen], always)
        for turn in range(1, 4):
            for number in range(MAX_BATCH):
                assert len(seen.batches) == turn - 1
                buffer.append(record(number))
            await asyncio.sleep(0)
            assert [len(batch) for batch in seen.batches] == turn * [MAX_BATCH]

    uvloop.run(run())


@pytest.mark.parametrize("part", ["body", "outputs"])
def test_when_large(part: str) -> None:
    """Large bodies and outputs are not kept until the batch is full."""
    seen = Recorder()

    async def run() -> None:
        buffer = ObserverBuffer([seen], always)
        for number in range(2):
            large = record(number, FLUSH_BYTES // 2 if part == "body" else 0)
            if part == "outputs":
                large.outputs = {"y": np.zeros(FLUSH_BYTES // 2, np.uint8), "z": [{}]}
            buffer.append(large)
            await asyncio.sleep(0)
            assert len(seen.batches) == number

    uvloop.run(run())


def test_tensors() -> None:
    """Inputs and outputs are kept for a whole batch, or released at once."""
    kept: list[list[bool]] = []
    needs = iter([True, False, True])

    def observe(records: Sequence[RequestRecord]) -> None:
        assert all((each.inputs is None) == (each.outputs is None) for each in records)
        kept.append([each.inputs is not None for each in records])

    async def run() -> None:
        buffer = ObserverBuffer([observe], lambda: next(needs))
        for _ in range(3):
            for number in range(MAX_BATCH):
                buffer.append(record(number, FLUSH_BYTES // MAX_BATCH // 2))
            await asyncio.sleep(0)

    uvloop.run(run())
    assert kept == [[value] * MAX_BATCH for value in (True, False, True)]


def test_flush() -> None:
    """After a flush nothing is left: no request, and no timer in the loop."""
    seen = Recorder()

    async def run() -> ObserverBuffer:
        buffer = ObserverBuffer([seen], always)
        buffer.append(record(0))
        buffer.flush()
        await asyncio.sleep(4 * FLUSH_S)
        return buffer

    buffer = uvloop.run(run())
    buffer.flush()
    assert seen.batches == [["0"]]


def test_failing_observer(caplog: pytest.LogCaptureFixture) -> None:
    """An observer that fails is logged; the others, and later batches, are not affected."""
    seen = Recorder()

    def fail(_records: Sequence[RequestRecord]) -> None:
        raise ZeroDivisionError

    async def run() -> None:
        buffer = ObserverBuffer([fail, seen], always)
        for number in range(2):
            buffer.append(record(number))
            await asyncio.sleep(4 * FLUSH_S)

    uvloop.run(run())
    assert seen.batches == [["0"], ["1"]]
    assert caplog.messages == ["1 finished requests were not observed"] * 2
