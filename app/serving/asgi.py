"""The ASGI application: scores in the event loop, and passes every other request to Flask.

https://asgi.readthedocs.io/en/latest/specs/www.html, HTTP connection scope
"""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, MutableMapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, TypeAlias, TypeVar

from a2wsgi import WSGIMiddleware
from flask import Flask

from app.errors import (
    LATE_BODY,
    MALFORMED_BODY,
    MISSED_DEADLINE,
    DeadlineExceeded,
    InvalidRequest,
    MalformedHttp,
    NotReady,
    RequestError,
)
from app.observability.request_record import RequestRecord
from app.protocols.codec import Body
from app.protocols.feedback import MAX_BODY_BYTES as MAX_FEEDBACK_BYTES
from app.scoring.request_ids import REQUEST_ID, read_ids
from app.scoring.scorer import Response, Route
from app.service import Draining, Service
from app.serving.observer_buffer import ObserverBuffer

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

# Probes and the metrics have a thread each that no other route can occupy.
PROBES = {"/healthz", "/readyz", "/ping"}
PROBES |= {"/v2/health/live", "/v2/health/ready"}  # part: v2
METRICS = "/metrics"
# The only route of Flask that has a body.
FEEDBACK = "/feedback"
# Threads for the other routes of Flask.
FLASK_THREADS = 2


class _EventLoopRequest:
    """A request that waits in the event loop."""

    __slots__ = ()

    async def wait(self, future: Future[T], deadline: float) -> T:
        """Wait for a future; see `app.scoring.scorer.Request`."""
        # `asyncio.wrap_future` makes a cycle: only the garbage collector would free the result.
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(_wake, waiter))
        timer = loop.call_later(deadline - monotonic(), waiter.cancel, MISSED_DEADLINE)
        try:
            await waiter
        except asyncio.CancelledError as exc:
            future.cancel()
            if exc.args == (MISSED_DEADLINE,):
                raise DeadlineExceeded(MISSED_DEADLINE) from exc
            raise
        finally:
            timer.cancel()
        return future.result()


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


@dataclass(slots=True)
class PushedRequest(_EventLoopRequest):
    """A `Request` whose body an HTTP protocol passes in while it is received.

    Attributes:
        content: the body so far.
        is_complete: whether it is the whole body.
        max_bytes, deadline, reserve: see `app.scoring.scorer.Request.body`.
    """

    route: Route
    headers: Mapping[str, str]
    address: str
    content: bytes | bytearray = b""
    is_complete: bool = False
    max_bytes: int = 0
    deadline: float = 0.0
    reserve: Callable[[int], None] | None = None

    def append(self, part: bytes) -> bool:
        """Add a part of the body; return whether it has all bytes that are read.

        Raises:
            RequestError: there is no room for it.
        """
        if self.reserve:
            self.reserve(len(part))
        if not self.content:
            self.content = part
        elif isinstance(self.content, bytes):
            self.content = bytearray(self.content) + part
        else:
            self.content += part
        return len(self.content) >= self.max_bytes

    async def body(self, max_bytes: int, deadline: float, reserve: Callable[[int], None] | None) -> Body:
        """Return the body, and release it: the request may wait long after it is decoded."""
        self.max_bytes, self.deadline, self.reserve = max_bytes, deadline, reserve
        if not self.is_complete:
            await _received()
        content, self.content = self.content, b""
        return content


@types.coroutine
def _received() -> Generator[None, None, None]:
    """Wait for the body; the HTTP protocol continues the coroutine."""
    yield


@dataclass(slots=True)
class StreamedRequest(_EventLoopRequest):
    """A `Request` whose body is received from an ASGI server.

    Attributes:
        is_disconnected: whether the client disconnected while its request waited.
    """

    route: Route
    headers: Mapping[str, str]
    address: str
    receive: Receive
    is_disconnected: bool = False

    async def body(self, max_bytes: int, deadline: float, reserve: Callable[[int], None] | None) -> Body:
        """Read the body, or its first bytes; see `app.scoring.scorer.Request`."""
        return await receive_body(self.receive, max_bytes, deadline, reserve)

    async def wait(self, future: Future[T], deadline: float) -> T:
        """Wait for a future; see `app.scoring.scorer.Request`. The request is cancelled with its client."""
        task = asyncio.current_task()
        watcher = asyncio.create_task(self._watch(task)) if task else None
        try:
            return await _EventLoopRequest.wait(self, future, deadline)
        finally:
            if watcher:
                watcher.cancel()

    async def _watch(self, task: "asyncio.Task[Any]") -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.is_disconnected = True
        task.cancel()


async def receive_body(
    receive: Receive, max_bytes: int, deadline: float, reserve: Callable[[int], None] | None = None
) -> Body:
    """Receive a body, or its first bytes; see `app.scoring.scorer.Request.body`."""
    parts = bytearray()
    try:
        async with asyncio.timeout(deadline - monotonic()):
            while len(parts) < max_bytes:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise InvalidRequest(MALFORMED_BODY)
                if reserve:
                    reserve(len(message["body"]))
                parts += message["body"]
                if not message.get("more_body"):
                    break
    except TimeoutError as exc:
        raise DeadlineExceeded(LATE_BODY) from exc
    return parts


class AsgiApp:
    """The ASGI application of a service.

    A path is matched exactly as it stands after percent-decoding: `//score` is a 404 of `app.routes.errors`.
    Flask's own scoring view, `app.routes.score`, refuses a request that comes from here.

    Attributes:
        routes_by_url: scoring routes by the request's target as it is usually sent.
        buffer: finished requests of which the observers have not been notified.
    """

    def __init__(self, flask: Flask, buffer: ObserverBuffer | None = None) -> None:
        """
        Args:
            buffer: of the service's observers; by default a new one.
        """
        self.service: Service = flask.extensions["service"]
        self.routes_by_url = {path.encode(): route for path, route in self.service.routes.items()}
        self.buffer = buffer or ObserverBuffer(self.service.observers, self.service.needs_tensors)
        self._scorer = replace(self.service.scorer, notify=self.buffer.append)
        self._flask = WSGIMiddleware(flask, workers=FLASK_THREADS)  # type: ignore[arg-type]
        probes, metrics = (WSGIMiddleware(flask, workers=1) for _ in range(2))  # type: ignore[arg-type]
        self._own_threads = {METRICS: metrics} | dict.fromkeys(PROBES, probes)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._flask(scope, receive, send)  # type: ignore[arg-type]
            return
        send = _closing(send, self.service.draining)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        route = self.service.routes.get(path)
        if route and scope["method"] == "POST":
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            address = (scope.get("client") or ("",))[0]
            request = StreamedRequest(route, headers, address, receive)
            try:
                await self._send(await self._scorer.answer(request), send)
            except asyncio.CancelledError:
                if not request.is_disconnected:
                    raise
        else:
            flask = self._own_threads.get(path, self._flask)
            content: Body = b""
            if path == FEEDBACK and scope["method"] == "POST":
                try:
                    content = await self._receive_feedback(receive)
                except RequestError as exc:
                    await self._send(self.refuse(exc.status, str(exc)), send)
                    return
            await flask(scope, _receiver(bytes(content)), send)  # type: ignore[arg-type]

    async def _receive_feedback(self, receive: Receive) -> Body:
        """Return the body of a request to `/feedback`, or the first bytes of one that is too large.

        Raises:
            InvalidRequest: the body ends early.
            DeadlineExceeded: the body is late.
        """
        deadline = monotonic() + self.service.settings.request_timeout_ms / 1000
        return await receive_body(receive, MAX_FEEDBACK_BYTES + 1, deadline)

    async def _send(self, response: Response, send: Send) -> None:
        headers = {**self._scorer.common_headers, **response.headers}
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        pairs.append((b"content-length", b"%d" % len(response.body)))
        await send({"type": "http.response.start", "status": response.status, "headers": pairs})
        await send({"type": "http.response.body", "body": response.body})

    def start(
        self, route: Route, headers: Mapping[str, str], address: str
    ) -> tuple[PushedRequest, Coroutine[Any, Any, Response]]:
        """Return a scoring request and its answer, which the HTTP protocol runs.

        The answer yields None while it waits for the body, then futures; see `resume`.
        """
        request = PushedRequest(route, headers, address)
        return request, self._scorer.answer(request)

    def refuse(self, status: int, message: str) -> Response:
        """Log a malformed request, and return its response."""
        ids, _ = read_ids({})
        record = RequestRecord(ids[REQUEST_ID], monotonic(), "unknown", status=status)
        record.error = MalformedHttp(message)
        self.service.request_log([record])
        response: Response = self._scorer.error_response(
            status, message, ids, NotReady.headers if status == NotReady.status else {}
        )
        return response

    @staticmethod
    def is_probe(path: str) -> bool:
        """Return whether a path is one of a probe or of the metrics."""
        return path in PROBES or path == METRICS

    @staticmethod
    async def resume(answer: Coroutine[Any, Any, Response], awaited: Any) -> Response:
        """Continue an answer in a task that was started outside of one.

        Python 3.12 has `asyncio.Task(…, eager_start=True)` for it.

        Args:
            awaited: the future that the answer waits for.
        """
        return await _continue(answer, awaited)


@types.coroutine
def _continue(coroutine: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
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


def _receiver(content: bytes) -> Receive:
    """Return a `receive` for Flask that has the whole body: a slow body would occupy a thread."""

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    return receive


def _closing(send: Send, draining: Draining) -> Send:
    """Return a `send` that announces the end of the connection while the service drains."""

    async def send_closing(message: Message) -> None:
        if message["type"] == "http.response.start" and draining.is_set():
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return send_closing
