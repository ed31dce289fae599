"""The fast lane: an ASGI door that scores in the event loop and leaves every other route to Flask.

https://asgi.readthedocs.io/en/latest/specs/www.html, HTTP connection scope
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from math import inf, log1p
from random import random
from time import monotonic
from types import CoroutineType
from typing import Any, TypeAlias, cast

import numpy as np
from a2wsgi import WSGIMiddleware
from flask import Flask

from app.call import Body
from app.errors import DeadlineExceeded, InvalidRequest, RequestError
from app.records import Record, Records
from app.scoring import Observer, Read, Reply, Route, Wait, show
from app.service import Service

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Steps: TypeAlias = Generator[Wait, Any, Reply]

# How many requests, bytes of their bodies and outputs, and seconds counting and logging may be behind. The
# fewer at once, the more often counting drives what answers out of the processor's caches; the more, the
# longer others wait for it. What is kept must fit where malloc finds it again at once: see GLIBC_TUNABLES in
# the Dockerfile.
LATER_RECORDS = 512
LATER_BYTES = 2**20
LATER_S = 0.05
# Tensors are most of what is kept, and drift is about shares, not numbers. A token bucket of twice a burst
# says of how many requests they may be. Down to its half all are kept; from there the chance of each falls
# with what is left, whatever its place among those that come together.
TENSORS_PER_S = 100
BURST_TENSORS = 2048

# Threads for the routes that Flask answers: probes, metrics, the model's description.
FLASK_THREADS = 4


class Door:
    """The ASGI application of a service.

    Attributes:
        service: what it opens to.
        in_flight: requests that have begun and not been answered.
        close: has the observers look at what they have not seen yet.
    """

    def __init__(self, flask: Flask) -> None:
        self.service: Service = flask.extensions["scorebox"]
        self.in_flight = 0
        self.close: Callable[[], None] = lambda: None
        self.service.metrics.counts_http = True
        # One of its own, which may show requests later.
        self._scorer = replace(self.service.scorer)
        self._flask = WSGIMiddleware(flask, workers=FLASK_THREADS)  # type: ignore[arg-type]

    def observe_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lets the observers look at requests once they are answered, at the latest when the door closes."""
        # A log that shows payloads shows all.
        max_tokens = inf if self.service.settings.log_payloads == "on" else 2 * BURST_TENSORS
        later = _Later(loop, self._scorer.observers, max_tokens)
        self._scorer.observe, self.close = later.add, later.close

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers one request, or keeps the lifespan's."""
        if scope["type"] != "http":
            return await self._flask(scope, receive, send)  # type: ignore[arg-type]
        if self.service.draining.is_set():
            send = _closing(send)
        self.in_flight += 1
        try:
            route = self.service.routes.get(scope["path"])
            if route and scope["method"] == "POST":
                await self._score(route, scope, receive, send)
            else:
                await self._flask(scope, receive, send)  # type: ignore[arg-type]
        finally:
            self.in_flight -= 1

    @staticmethod
    def place(size: int) -> memoryview:
        """Memory for so many bytes; pages of it that nothing is written to cost nothing."""
        return np.empty(size, np.uint8).data

    def answer(
        self, route: Route, headers: Mapping[str, str], body: Body
    ) -> "Reply | CoroutineType[Any, Any, Reply]":
        """Answers a scoring request whose body is there: at once, or where the model is waited for, later."""
        steps = self._scorer.answer(route, headers)
        try:
            next(steps)
            wait = steps.send(body)
        except StopIteration as end:
            reply: Reply = end.value
            return reply
        return cast("CoroutineType[Any, Any, Reply]", self._finish(steps, wait))

    async def _finish(self, steps: Steps, wait: Wait) -> Reply:
        self.in_flight += 1
        try:
            return await _drive(steps, wait, _receive_no_more)
        finally:
            self.in_flight -= 1

    async def _score(self, route: Route, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        reply = await _drive(self._scorer.answer(route, headers), None, receive)
        await send({"type": "http.response.start", "status": reply.status, "headers": self.pairs(reply)})
        await send({"type": "http.response.body", "body": reply.body})

    @staticmethod
    def pairs(reply: Reply) -> list[tuple[bytes, bytes]]:
        """The headers of a reply as ASGI has them."""
        headers = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
        headers.append((b"content-length", b"%d" % len(reply.body)))
        return headers


class _Later:
    """Shows observers requests together, a little later than they are answered.

    Of a hundred together each costs a tenth of what one alone does.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, observers: Sequence[Observer], max_tokens: float
    ) -> None:
        self._loop, self._observers, self._max_tokens = loop, observers, max_tokens
        self._records: list[Record] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tokens = max_tokens
        self._refilled = monotonic()
        # Which of those that wait, counted from 1, is the next whose tensors are kept; and the next that
        # there is anything to do for.
        self._next_kept = self._due = 0

    def add(self, record: Record) -> None:
        """Keeps a request until it is shown."""
        self._records.append(record)
        if len(self._records) < self._due:
            record.inputs = record.outputs = None
        else:
            self._look_at(record)

    def _look_at(self, record: Record) -> None:
        """Does what is due to the first, to those whose tensors are kept, and to the last that may wait."""
        number = len(self._records)
        if self._timer is None:
            self._timer = self._loop.call_later(LATER_S, self.close)
            self._refill()
            self._next_kept = number + self._gap()
        if number < self._next_kept:
            record.inputs = record.outputs = None
        else:
            self._bytes += _size(record)
            if record.outputs is not None:
                self._tokens -= 1
                self._next_kept = number + 1 + self._gap()
        if number == LATER_RECORDS or self._bytes > LATER_BYTES:
            self._bytes = 0
            self._loop.call_soon(self._show)
        self._due = max(number + 1, min(self._next_kept, LATER_RECORDS))

    def _refill(self) -> None:
        before, self._refilled = self._refilled, monotonic()
        tokens = self._tokens + (self._refilled - before) * TENSORS_PER_S
        self._tokens = min(tokens, self._max_tokens)

    def _gap(self) -> int:
        """How many are passed over, where each request has the same chance to be kept."""
        chance = max(self._tokens, 1) / BURST_TENSORS
        return int(log1p(-random()) / log1p(-chance)) if chance < 1 else 0  # noqa: S311

    def _show(self) -> None:
        records, self._records, self._bytes = self._records, [], 0
        self._next_kept -= len(records)
        self._due = 0
        if records:
            show(self._observers, Records(records))

    def close(self) -> None:
        """Shows those that wait."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._show()


def _size(record: Record) -> int:
    """The bytes of a request's body, and of the arrays that it was answered with."""
    outputs = record.outputs.values() if record.outputs else ()
    return record.body_bytes + sum(value.nbytes for value in outputs if isinstance(value, np.ndarray))


async def _drive(steps: Steps, wait: Wait | None, receive: Receive) -> Reply:
    """Goes the way of a request, and lets others go theirs where there is something to wait for.

    Args:
        steps: of the request.
        wait: what it waits for; None where it has not begun.
        receive: gives its body.
    """
    try:
        wait = wait or next(steps)
        while True:
            try:
                outcome: Any = (
                    await _read(wait, receive) if isinstance(wait, Read) else await asyncio.wrap_future(wait)
                )
            except RequestError as exc:
                wait = steps.throw(exc)
            else:
                wait = steps.send(outcome)
    except StopIteration as end:
        reply: Reply = end.value
        return reply
    finally:
        steps.close()


async def _receive_no_more() -> Message:
    """What ASGI gives after a body."""
    return {"type": "http.disconnect"}


async def _read(wanted: Read, receive: Receive) -> bytes:
    """At most so many bytes of the body, which must be there by the deadline."""
    message = await _receive(wanted, receive)
    if not message.get("more_body"):
        return bytes(message["body"])
    parts = bytearray(message["body"])
    while message.get("more_body") and len(parts) < wanted.max_bytes:
        message = await _receive(wanted, receive)
        parts += message["body"]
    return bytes(parts)


async def _receive(wanted: Read, receive: Receive) -> Message:
    try:
        async with asyncio.timeout(wanted.deadline - monotonic()):
            message = await receive()
    except TimeoutError as exc:
        raise DeadlineExceeded("the body did not arrive before the request's deadline") from exc
    if message["type"] == "http.disconnect":
        raise InvalidRequest("the body ended early, or its chunks are malformed")
    return message


def _closing(send: Send) -> Send:
    """Tells the client with the reply that it is the connection's last."""

    async def send_closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return send_closing
