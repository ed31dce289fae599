"""Fast HTTP: scoring requests are answered in the callbacks of the HTTP parser.

uvicorn passes each request to the ASGI application in a task, through an event and two callbacks. In Python
that costs as much as a fast model. Here the request starts when its head is complete, so that it can be
refused before its body is read; its body is passed in; and the response is written at once if the model
answers at once. `FAST_HTTP=off` disables this module, and every request gets the same answer without it.
"""

import asyncio
from collections.abc import Coroutine
from time import monotonic
from typing import TYPE_CHECKING, Any

from app.errors import LATE_BODY, MALFORMED_BODY, DeadlineExceeded, InvalidRequest, RequestError
from app.serving.http_head import Headers
from app.serving.http_protocol import HttpProtocol
from app.serving.resting_connection import RestingConnection

if TYPE_CHECKING:  # the master imports this module, and must not import ONNX Runtime
    from app.scoring.scorer import Response
    from app.serving.asgi import PushedRequest
    from app.serving.connections import Connections


class ScoringProtocol(HttpProtocol):
    """A connection that answers scoring requests without a task if the model answers at once."""

    def __init__(self, shared: "Connections", resting: RestingConnection) -> None:
        super().__init__(shared, resting)
        # Of the last scoring request. Most clients send the same headers again.
        self._last_headers: Headers = []
        self._last_names: dict[str, str] = {}
        self._last_length = 0
        # The request whose body is being received, and its answer, which waits for the body.
        self._request: PushedRequest | None = None
        self._answer: Coroutine[Any, Any, Response] | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Response] | None = None

    def start(self, headers: Headers) -> None:
        app = self.shared.app
        route = app.routes_by_url.get(self.url)
        if route is None or self.is_surplus or self.parser.get_method() != b"POST":
            super().start(headers)
            return
        if headers == self._last_headers:
            self.missing_bytes = self._last_length
        else:
            lowered = self.check_head(headers)
            self._last_names = {name.decode("latin-1"): value.decode("latin-1") for name, value in lowered}
            self._last_headers, self._last_length = headers, self.missing_bytes
        names = self._last_names
        self._request, answer = app.start(route, names, self.address)
        self._advance(answer)
        if self._answer and "expect" in names and names["expect"].lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _advance(self, answer: "Coroutine[Any, Any, Response]", error: Exception | None = None) -> None:
        """Continue an answer until it waits for the body or for a future, or is complete."""
        self._answer = None
        if self._body_timer:
            self._body_timer.cancel()
            self._body_timer = None
        try:
            awaited = answer.throw(error) if error else answer.send(None)
        except StopIteration as end:
            self._request = None
            self.respond(end.value)
            return
        if awaited is None:
            self._answer = answer
        else:
            self._request = None
            self._task = self.loop.create_task(self.shared.app.resume(answer, awaited))
            self._task.add_done_callback(self._on_answered)

    def on_body(self, body: bytes) -> None:
        """Pass a part of a scoring request's body to it."""
        if self._request is None:
            super().on_body(body)
            return
        self.count_content(body)
        if not self._answer:
            return
        try:
            if self._request.append(body):
                self._advance(self._answer)  # too large: the rest is discarded
        except RequestError as exc:
            self._advance(self._answer, exc)

    def on_message_complete(self) -> None:
        """Answer a scoring request."""
        if self._request is None:
            super().on_message_complete()
            return
        self.is_in_body = False
        self._request.is_complete = True
        if self._answer:
            self._advance(self._answer)

    def data_received(self, data: bytes) -> None:
        """See `HttpProtocol`. A body that is incomplete now has to be complete at the request's deadline."""
        super().data_received(data)
        if self._answer and self._request and not self._body_timer:
            delay_s = self._request.deadline - monotonic()
            self._body_timer = self.loop.call_later(delay_s, self._on_body_deadline)

    def _on_body_deadline(self) -> None:
        if self._answer:
            self._advance(self._answer, DeadlineExceeded(LATE_BODY))

    def _on_answered(self, task: "asyncio.Task[Response]") -> None:
        self._task = None
        if task.cancelled():
            return
        if task.exception():  # the client would take the next response for this one
            self.transport.abort()
        self.respond(task.result())

    def _refuse(self, status: int, text: str) -> None:
        if self._answer:  # its response has the request's ids
            self._keep_alive = self.is_in_body = False
            self.is_lingering = True
            self._advance(self._answer, InvalidRequest(MALFORMED_BODY))
        else:
            super()._refuse(status, text)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the answer to a client that has disconnected."""
        if self._task:
            self._task.cancel()
        if self._body_timer:
            self._body_timer.cancel()
        if self._answer:
            self._answer.close()
        self._request = self._answer = None
        super().connection_lost(exc)
