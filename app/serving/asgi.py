"""The fast lane: an ASGI door that scores in the event loop and leaves every other route to Flask.

https://asgi.readthedocs.io/en/latest/specs/www.html, HTTP connection scope
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from dataclasses import replace
from math import inf
from time import monotonic
from types import CoroutineType
from typing import Any, TypeAlias, cast

import numpy as np
from a2wsgi import WSGIMiddleware
from flask import Flask

from app.errors import DeadlineExceeded, InvalidRequest, RequestError
from app.protocols.codec import Body
from app.scoring.scorer import Read, Reply, Route, Wait
from app.service import Service
from app.serving.observer_buffer import BURST_TENSORS, ObserverBuffer

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Steps: TypeAlias = Generator[Wait, Any, Reply]
# Threads for the routes that Flask answers: probes, metrics, the model's description.
FLASK_THREADS = 4


class AsgiApp:
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

    def enable_buffering(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lets the observers look at requests once they are answered, at the latest when the door closes."""
        # A log that shows payloads shows all.
        max_tokens = inf if self.service.settings.log_payloads == "on" else 2 * BURST_TENSORS
        later = ObserverBuffer(loop, self._scorer.observers, max_tokens)
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
