"""The ASGI application: scores in the event loop, and passes every other request to Flask.

https://asgi.readthedocs.io/en/latest/specs/www.html, HTTP connection scope
"""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, MutableMapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from a2wsgi import WSGIMiddleware
from flask import Flask

from app.errors import MISSED_DEADLINE, DeadlineExceeded, InvalidRequest
from app.protocols.codec import Body
from app.scoring.scorer import Response, Route
from app.service import Service
from app.serving.observer_buffer import ObserverBuffer

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

# Threads for the routes of Flask: probes, metrics, the model's description.
FLASK_THREADS = 4


class _EventLoopRequest:
    """A request that waits in the event loop."""

    __slots__ = ()

    async def wait(self, future: Future[T], deadline: float) -> T:
        """Wait for a future; see `app.scoring.scorer.Request`."""
        waiter = asyncio.wrap_future(future)
        timer = asyncio.get_running_loop().call_later(deadline - monotonic(), waiter.cancel, MISSED_DEADLINE)
        try:
            return await waiter
        except asyncio.CancelledError as exc:
            if exc.args == (MISSED_DEADLINE,):
                raise DeadlineExceeded(MISSED_DEADLINE) from exc
            raise
        finally:
            timer.cancel()


@dataclass(slots=True)
class BufferedRequest(_EventLoopRequest):
    """A `Request` whose body has been read."""

    route: Route
    headers: Mapping[str, str]
    address: str
    content: Body

    async def body(self, _max_bytes: int, _deadline: float) -> Body:
        """Return the body, and release it: the request may wait long after it is decoded."""
        content, self.content = self.content, b""
        return content


@dataclass(slots=True)
class StreamedRequest(_EventLoopRequest):
    """A `Request` whose body is received from an ASGI server."""

    route: Route
    headers: Mapping[str, str]
    address: str
    receive: Receive

    async def body(self, max_bytes: int, deadline: float) -> Body:
        """Read the body, or its first bytes; see `app.scoring.scorer.Request`."""
        parts = bytearray()
        try:
            async with asyncio.timeout(deadline - monotonic()):
                while len(parts) < max_bytes:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        raise InvalidRequest("the body ended early, or its chunks are malformed")
                    parts += message["body"]
                    if not message.get("more_body"):
                        break
        except TimeoutError as exc:
            raise DeadlineExceeded("the body did not arrive before the request's deadline") from exc
        return bytes(parts)


class AsgiApp:
    """The ASGI application of a service.

    A path is matched exactly as it stands after percent-decoding: `//score` is a 404 of `app.routes.errors`.
    Flask's own scoring view, `app.routes.score`, refuses a request that comes from here.

    Attributes:
        in_flight: requests that have started and are not answered.
        buffer: finished requests of which the observers have not been notified.
    """

    def __init__(self, flask: Flask, buffer: ObserverBuffer | None = None) -> None:
        """
        Args:
            buffer: of the service's observers; by default a new one.
        """
        self.service: Service = flask.extensions["scorebox"]
        self.in_flight = 0
        self.buffer = buffer or ObserverBuffer(self.service.observers, self.service.needs_tensors)
        self._scorer = replace(self.service.scorer, notify=self.buffer.append)
        self._flask = WSGIMiddleware(flask, workers=FLASK_THREADS)  # type: ignore[arg-type]

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._flask(scope, receive, send)  # type: ignore[arg-type]
        if self.service.draining.is_set():
            send = _closing(send)
        self.in_flight += 1
        try:
            route = self.service.routes.get(scope["path"].removeprefix(scope.get("root_path", "")))
            if route and scope["method"] == "POST":
                headers = {
                    name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
                }
                address = (scope.get("client") or ("",))[0]
                await _send(
                    await self._scorer.answer(StreamedRequest(route, headers, address, receive)), send
                )
            else:
                await self._flask(scope, receive, send)  # type: ignore[arg-type]
        finally:
            self.in_flight -= 1

    def answer(
        self, route: Route, headers: Mapping[str, str], address: str, body: Body
    ) -> "Response | types.CoroutineType[Any, Any, Response]":
        """Answer a scoring request whose body has been read.

        Returns:
            the response, or a coroutine that returns it if the model does not answer at once.
        """
        answer = self._scorer.answer(BufferedRequest(route, headers, address, body))
        try:
            awaited = answer.send(None)
        except StopIteration as end:
            response: Response = end.value
            return response
        return cast("types.CoroutineType[Any, Any, Response]", self._finish(answer, awaited))

    async def _finish(self, answer: Coroutine[Any, Any, Response], awaited: Any) -> Response:
        self.in_flight += 1
        try:
            return await _resume(answer, awaited)
        finally:
            self.in_flight -= 1

    @staticmethod
    def allocate_body(size: int) -> memoryview:
        """Return uninitialized memory; its pages cost nothing until they are written to."""
        return np.empty(size, np.uint8).data


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """Continue a coroutine in a task that was started outside of one.

    Python 3.12 has `asyncio.Task(…, eager_start=True)` for it.

    Args:
        awaited: the future that the coroutine waits for.
    """
    try:
        while True:
            try:
                yield awaited
            except BaseException as exc:  # noqa: BLE001 (the future's exception, or the task's cancellation)
                awaited = coroutine.throw(exc)
            else:
                awaited = coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result


async def _send(response: Response, send: Send) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers.items()]
    headers.append((b"content-length", b"%d" % len(response.body)))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def _closing(send: Send) -> Send:
    """Return a `send` that announces the end of the connection with the response."""

    async def send_closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return send_closing
