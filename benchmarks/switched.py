"""Scorebox with observability, or capture alone, switched on and off: the difference is what it costs.

Both halves run in one process, because two processes differ by as much just by the layout of their memory.
"""

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

from flask import Flask

from app.observability import drift
from app.observability.request_record import RequestRecord
from app.scoring.scorer import Response, Route
from app.service import Service
from app.serving.asgi import AsgiApp, PushedRequest, Receive, Send
from app.serving.lifecycle import load
from app.serving.observer_buffer import ObserverBuffer
from benchmarks.peer import CAPTURE_PATH, TURNS_PATH

# Short compared with changes in the load of a shared machine.
TURN_S = 0.5


class SwitchedBuffer(ObserverBuffer):
    """A buffer that can drop requests instead of passing them to the observers."""

    is_on = True

    def append(self, record: RequestRecord) -> None:
        """Buffer or drop a request."""
        if self.is_on:
            super().append(record)


class Switched(AsgiApp):
    """An ASGI application that observes requests in every second turn, and counts them in each."""

    def __init__(self, flask: Flask) -> None:
        service: Service = flask.extensions["service"]
        self._buffer = SwitchedBuffer(service.observers, service.needs_tensors)
        super().__init__(flask, self._buffer)
        self._turns: list[tuple[bool, float]] = []
        self._requests = 0
        self._started = 0.0

    def start(
        self, route: Route, headers: Mapping[str, str], address: str
    ) -> tuple[PushedRequest, Coroutine[Any, Any, Response]]:
        """Count a request, in turns of both kinds."""
        if not self._started:
            self._started = monotonic()
            asyncio.get_running_loop().call_later(TURN_S, self._switch)
        self._requests += 1
        return super().start(route, headers, address)

    def _switch(self) -> None:
        self._buffer.flush()  # within the turn that these requests belong to
        now = monotonic()
        self._turns.append((self._buffer.is_on, self._requests / (now - self._started)))
        self._buffer.is_on = not self._buffer.is_on
        self._requests, self._started = 0, now
        asyncio.get_running_loop().call_later(TURN_S, self._switch)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Respond with the turns since the last request of them: whether observed, and requests a second."""
        if scope["type"] != "http" or scope["path"] != TURNS_PATH:
            await super().__call__(scope, receive, send)
            return
        turns, self._turns = self._turns, []
        body = json.dumps(turns).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Captured(AsgiApp):
    """An ASGI application whose capture a request to CAPTURE_PATH switches: `?on`, `?off`."""

    def __init__(self, flask: Flask) -> None:
        service: Service = flask.extensions["service"]
        without = replace(service, capture=None)
        self._is_on = True

        def observe(records: Sequence[RequestRecord]) -> None:
            if self._is_on and service.capture:
                service.capture(records)

        def needs_tensors() -> bool:
            return (service if self._is_on else without).needs_tensors()

        others = [each for each in service.observers if each is not service.capture]
        self._buffer = ObserverBuffer([*others, observe], needs_tensors)
        super().__init__(flask, self._buffer)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Switch capture, after what is buffered, or respond as the service does."""
        if scope["type"] != "http" or scope["path"] != CAPTURE_PATH:
            await super().__call__(scope, receive, send)
            return
        self._buffer.flush()
        self._is_on = scope["query_string"] == b"on"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def captured() -> Captured:
    """Return the application of one worker."""
    return Captured(load())


def application() -> Switched:
    """Return the application of one worker."""
    # The turns that are off refill the token bucket too; at half the rate the others have the usual load.
    drift.REQUESTS_PER_S //= 2
    return Switched(load())
