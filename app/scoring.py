"""The way of one request: bytes → decode → validate → infer → encode → bytes.

Knows neither Flask nor a server: every door goes the way that `Scorer.answer` shows and sends the `Reply`. So
authentication, limits, errors, ids and observers exist once.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from random import getrandbits
from time import monotonic
from typing import Any, TypeAlias

import numpy as np
import orjson

from app.auth import ANONYMOUS, ApiKeys
from app.batching import Batcher, Result
from app.errors import BodyTooLarge, InvalidRequest, RequestError, UnsupportedMediaType
from app.model import Model
from app.protocols import score
from app.settings import Settings
from app.signature import shown

MAX_ID_LENGTH = 100
# No reply has it; as in nginx, it is how metrics and log name a client that did not wait for one.
CLIENT_LEFT = 499


@dataclass(frozen=True, slots=True)
class Read:
    """Asks the door for the body.

    The door throws InvalidRequest in where it ends early, DeadlineExceeded where it does not come in time.

    Attributes:
        max_bytes: of it that are wanted.
        deadline: in seconds of the monotonic clock.
    """

    max_bytes: int
    deadline: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What a door sends."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Record:
    """What the observers see of one scored request.

    Attributes:
        duration: seconds from its headers to its reply.
        rows: of the request; None where it could not be read.
        result: what became of it at the model; None where it did not get there.
    """

    id: str
    started: float
    route: str = "/score"
    caller: str = ANONYMOUS
    status: int = 500
    duration: float = 0.0
    rows: int | None = None
    result: Result | None = None
    error: RequestError | None = None


Wait: TypeAlias = Read | Future[Result]
Observer = Callable[[Record], None]


@dataclass
class Scorer:
    """Answers scoring requests with one model."""

    model: Model
    settings: Settings
    batcher: Batcher
    api_keys: ApiKeys | None = None
    observers: Sequence[Observer] = field(default_factory=tuple)

    def answer(self, headers: Mapping[str, str]) -> Generator[Wait, Any, Reply]:
        """The way of one request; what goes wrong with it becomes the reply.

        Where it has to wait it yields what for, and a door, which knows how to wait, sends the outcome in:
        for a `Read` the body's bytes, for a future its result. So the way is one for threads and for asyncio.

        Args:
            headers: looked up by name in lower case.
        """
        record = Record(id=request_id(headers), started=monotonic())
        try:
            record.caller = self.caller(headers)
            deadline = record.started + self.settings.request_timeout_ms / 1000
            max_bytes = self._admit(headers)
            body = yield Read(max_bytes + 1, deadline)
            self._check_body(body, max_bytes)
            call = score.decode(body, self.model.inputs, self.model.package.manifest.features)
            record.rows = _rows(call)
            record.result = self.batcher.run(call.inputs, record.rows)
            if record.result is None:
                record.result = yield self.batcher.submit(call.inputs, record.rows, deadline)
            reply = score.encode(record.result.outputs, call.rows, self._about(record.id))
            record.status = 200
            return Reply(200, self.headers(record.id), reply)
        except RequestError as exc:
            record.error = exc
            record.status = exc.status
            return self.refuse(exc.status, str(exc), record.id, exc.headers)
        except GeneratorExit:
            record.status = CLIENT_LEFT
            raise
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

    def _admit(self, headers: Mapping[str, str]) -> int:
        """The limit of the body, unless it need not be read: its type is not known, or it is too large."""
        media_type = headers.get("content-type", score.MEDIA_TYPE).partition(";")[0].strip().lower()
        if media_type != score.MEDIA_TYPE:
            raise UnsupportedMediaType(f"expected content-type {score.MEDIA_TYPE}, got {shown(media_type)}")
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise UnsupportedMediaType(f"expected no content-encoding, got {shown(coding)}")
        limit = self.settings.max_body_bytes
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise BodyTooLarge(f"expected a body of at most {limit} bytes, got {length}")
        return limit

    @staticmethod
    def _check_body(body: bytes, max_bytes: int) -> None:
        # Without this bound a client that sends no length could have us hold a body of any size.
        if len(body) > max_bytes:
            raise BodyTooLarge(f"expected a body of at most {max_bytes} bytes, got more")
        if not body:
            raise InvalidRequest("the body is empty; expected a JSON object with 'inputs' or 'instances'")


def request_id(headers: Mapping[str, str]) -> str:
    """The caller's `x-request-id`, if it is printable and of at most 100 characters; else a new one."""
    given = headers.get("x-request-id", "")
    if 0 < len(given) <= MAX_ID_LENGTH and given.isascii() and given.isprintable():
        return given
    return f"{getrandbits(128):032x}"


def _rows(call: score.Call) -> int:
    if call.rows is not None:
        return call.rows
    for value in call.inputs.values():
        if isinstance(value, np.ndarray) and value.ndim:
            return len(value)
    return 1
