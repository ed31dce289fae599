"""The fast lane: an ASGI door that scores in the event loop and leaves every other route to Flask.

https://asgi.readthedocs.io/en/latest/specs/www.html, HTTP connection scope
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, MutableMapping
from time import monotonic
from typing import Any, TypeAlias

from a2wsgi import WSGIMiddleware
from flask import Flask

from app.errors import DeadlineExceeded, InvalidRequest, RequestError
from app.scoring import Read, Reply, Route, Wait
from app.service import Service

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Steps: TypeAlias = Generator[Wait, Any, Reply]

# Threads for the routes that Flask answers: probes, metrics, the model's description.
FLASK_THREADS = 4


class Door:
    """The ASGI application of a service.

    Attributes:
        service: what it opens to.
        in_flight: requests that have begun and not been answered.
    """

    def __init__(self, flask: Flask) -> None:
        self.service: Service = flask.extensions["scorebox"]
        self.in_flight = 0
        self._flask = WSGIMiddleware(flask, workers=FLASK_THREADS)  # type: ignore[arg-type]

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

    def answer(
        self, route: Route, headers: Mapping[str, str], body: bytes
    ) -> "Reply | Coroutine[Any, Any, Reply]":
        """Answers a scoring request whose body is there: at once, or where the model is waited for, later."""
        began = monotonic()
        steps = self.service.scorer.answer(route, headers)
        try:
            next(steps)
            wait = steps.send(body)
        except StopIteration as end:
            return self._counted(route, end.value, began)
        return self._finish(route, steps, wait, began)

    async def _finish(self, route: Route, steps: Steps, wait: Wait, began: float) -> Reply:
        self.in_flight += 1
        try:
            return self._counted(route, await _drive(steps, wait, _receive_no_more), began)
        finally:
            self.in_flight -= 1

    async def _score(self, route: Route, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        began = monotonic()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        steps = self.service.scorer.answer(route, headers)
        reply = self._counted(route, await _drive(steps, None, receive), began)
        await send({"type": "http.response.start", "status": reply.status, "headers": self.pairs(reply)})
        await send({"type": "http.response.body", "body": reply.body})

    def _counted(self, route: Route, reply: Reply, began: float) -> Reply:
        self.service.metrics.count_http("POST", route.rule, reply.status, monotonic() - began)
        return reply

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
