"""Scorebox whose requests are looked at by turns: what metrics, drift and log cost is the difference.

Both in one process, because two of them differ by as much for no other reason than where their memory lies.
A process whose requests are never looked at may be a little faster still than the turns without.
"""

import asyncio
import json
from collections.abc import Mapping
from time import monotonic
from types import CoroutineType
from typing import Any

from flask import Flask

from app.observability.request_record import RequestRecord
from app.protocols.codec import Body
from app.scoring.scorer import Reply, Route
from app.serving import lifecycle as server
from app.serving import observer_buffer
from app.serving.asgi import AsgiApp, Receive, Send
from benchmarks.peer import TURNS_PATH

# Short against the changes of a machine that others use too; not shorter than metrics put off their files.
TURN_S = 0.5


class Switched(AsgiApp):
    """A door that has requests looked at in every second turn, and tells how many it answered in each."""

    def __init__(self, flask: Flask) -> None:
        super().__init__(flask)
        self._turns: list[tuple[bool, float]] = []
        self._is_on = True
        self._requests = 0
        self._since = monotonic()

    def enable_buffering(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins the turns."""
        # The turns without fill the bucket of the sample too: half the rate gives the others what is usual.
        observer_buffer.TENSORS_PER_S //= 2
        super().enable_buffering(loop)
        self._loop, self._later = loop, self._scorer.observe
        loop.call_later(TURN_S, self._switch)

    def answer(
        self, route: Route, headers: Mapping[str, str], body: Body
    ) -> "Reply | CoroutineType[Any, Any, Reply]":
        """Counts requests where both kinds of turns pay for it."""
        self._requests += 1
        return super().answer(route, headers, body)

    def _off(self, _record: RequestRecord) -> None:
        pass

    def _switch(self) -> None:
        if self._is_on:  # what was put off is its turn's
            self.close()
            self.service.metrics.flush()
        now = monotonic()
        self._turns.append((self._is_on, self._requests / (now - self._since)))
        self._is_on = not self._is_on
        self._scorer.observe = self._later if self._is_on else self._off
        self._requests, self._since = 0, now
        self._loop.call_later(TURN_S, self._switch)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Tells of the turns since it was last asked: whether looked at, and requests a second."""
        if scope["type"] != "http" or scope["path"] != TURNS_PATH:
            await super().__call__(scope, receive, send)
            return
        turns, self._turns = self._turns, []
        body = json.dumps(turns).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def application() -> AsgiApp:
    """The application of one worker."""
    return server.application(Switched)
