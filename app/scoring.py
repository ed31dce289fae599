"""The way of one request: bytes → decode → validate → infer → encode → bytes.

Knows neither Flask nor a server: every door makes a `Request`, calls `Scorer.score` and sends the `Reply`.
So authentication, limits, errors, ids and observers exist once.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
import orjson

from app.auth import ANONYMOUS, ApiKeys
from app.errors import BodyTooLarge, InvalidRequest, RequestError, UnsupportedMediaType
from app.model import Model
from app.protocols import score
from app.queue import InferenceQueue
from app.settings import Settings

MAX_ID_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Request:
    """A request, as plain as it gets.

    Attributes:
        headers: looked up by name in lower case.
        read: gives the body, but at most so many bytes of it, by a deadline in seconds of the monotonic
            clock. Raises InvalidRequest where it ends early, DeadlineExceeded where it does not come in time.
    """

    headers: Mapping[str, str]
    read: Callable[[int, float], bytes]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a door sends."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Record:
    """What the observers see of one scored request. Durations are in seconds; None: it did not get there."""

    id: str
    started: float
    route: str = "/score"
    caller: str = ANONYMOUS
    status: int = 500
    duration: float = 0.0
    rows: int | None = None
    queue_duration: float | None = None
    infer_duration: float | None = None
    error: RequestError | None = None


Observer = Callable[[Record], None]


@dataclass
class Scorer:
    """Answers scoring requests with one model."""

    model: Model
    settings: Settings
    queue: InferenceQueue
    api_keys: ApiKeys | None = None
    observers: Sequence[Observer] = field(default_factory=tuple)

    def score(self, request: Request) -> Reply:
        """Answers one request; what goes wrong with it becomes the reply."""
        record = Record(id=request_id(request.headers), started=monotonic())
        try:
            record.caller = self.caller(request.headers)
            deadline = record.started + self.settings.request_timeout_ms / 1000
            body = self._read(request, deadline)
            call = score.decode(body, self.model.inputs, self.model.package.manifest.features)
            record.rows = _rows(call)
            outputs = self._infer(call.inputs, record, deadline)
            body = score.encode(outputs, call.rows, self._about(record.id))
            record.status = 200
            return Reply(200, self.headers(record.id), body)
        except RequestError as exc:
            record.error = exc
            record.status = exc.status
            return self.refuse(exc.status, str(exc), record.id, exc.headers)
        finally:
            record.duration = monotonic() - record.started
            for observe in self.observers:
                observe(record)

    def caller(self, headers: Mapping[str, str]) -> str:
        """Who calls; `anonymous` where authentication is off.

        Raises:
            Unauthorized: authentication is on, and the key is missing or wrong.
        """
        return self.api_keys.caller(headers) if self.api_keys else ANONYMOUS

    def headers(self, id_: str) -> dict[str, str]:
        """The headers of every reply."""
        return {
            "content-type": score.MEDIA_TYPE,
            "x-request-id": id_,
            "x-model-version": self.model.version,
            "x-model-digest": self.model.package.digest,
        }

    def refuse(self, status: int, message: str, id_: str, headers: Mapping[str, str]) -> Reply:
        """The reply that says what went wrong."""
        body = orjson.dumps({"error": message, **self._about(id_)})
        return Reply(status, self.headers(id_) | dict(headers), body)

    def _about(self, id_: str) -> dict[str, str]:
        return {"id": id_, "model_name": self.model.name, "model_version": self.model.version}

    def _read(self, request: Request, deadline: float) -> bytes:
        """The body, if its type is known and its size within the limit."""
        media_type = request.headers.get("content-type", score.MEDIA_TYPE).partition(";")[0].strip().lower()
        if media_type != score.MEDIA_TYPE:
            raise UnsupportedMediaType(f"expected content-type {score.MEDIA_TYPE}, got {media_type!r}")
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise UnsupportedMediaType(f"expected no content-encoding, got {coding!r}")
        limit = self.settings.max_body_bytes
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise BodyTooLarge(f"expected a body of at most {limit} bytes, got {length}")
        # Without this bound a client that sends no length could have us hold a body of any size.
        body = request.read(limit + 1, deadline)
        if len(body) > limit:
            raise BodyTooLarge(f"expected a body of at most {limit} bytes, got more")
        if not body:
            raise InvalidRequest("the body is empty; expected a JSON object with 'inputs' or 'instances'")
        return body

    def _infer(self, inputs: Mapping[str, Any], record: Record, deadline: float) -> dict[str, Any]:
        waiting = monotonic()
        with self.queue.slot(deadline):
            running = monotonic()
            record.queue_duration = running - waiting
            outputs = self.model.infer(inputs)
            record.infer_duration = monotonic() - running
        return outputs


def request_id(headers: Mapping[str, str]) -> str:
    """The caller's `x-request-id`, if it is printable and of at most 100 characters; else a new one."""
    given = headers.get("x-request-id", "")
    if 0 < len(given) <= MAX_ID_LENGTH and given.isascii() and given.isprintable():
        return given
    return os.urandom(16).hex()


def _rows(call: score.Call) -> int:
    if call.rows is not None:
        return call.rows
    shapes = (np.shape(value) for value in call.inputs.values() if isinstance(value, np.ndarray))
    return next((shape[0] for shape in shapes if shape), 1)
