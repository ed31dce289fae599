"""The way of one request: bytes → decode → validate → infer → encode → bytes.

Knows neither Flask nor a server: every door goes the way that `Scorer.answer` shows and sends the `Reply`. So
authentication, limits, errors, ids and observers exist once.
"""

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import orjson

from app.errors import BodyTooLarge, RequestError, UnsupportedMediaType
from app.model.batcher import Batcher, Result
from app.model.served_model import ServedModel
from app.model.transform_executor import TransformExecutor
from app.observability.request_record import RecordBatch, RequestRecord
from app.protocols import open_inference, score
from app.protocols.codec import Codec
from app.scoring.callers import Callers
from app.scoring.compression import CODINGS, deflate, inflate
from app.scoring.request_ids import OWN, read_ids
from app.settings import Settings
from app.tensors.io_spec import preview

logger = logging.getLogger("scorebox")

# No reply has it; as in nginx, it is how metrics and log name a client that did not wait for one.
CLIENT_LEFT = 499


@dataclass(frozen=True, slots=True)
class Route:
    """Where scoring is asked for.

    Attributes:
        codec: the protocol that is spoken there.
        rule: its path in log and metrics; a name or version in it is the model's.
    """

    codec: Codec
    rule: str


def routes(model: ServedModel) -> Mapping[str, Route]:
    """Path → route: a protocol is a module and a line here."""
    base = f"/v2/models/{model.name}"
    versioned = "/v2/models/<name>/versions/<version>/infer"
    return {
        "/score": Route(score, "/score"),
        f"{base}/infer": Route(open_inference, "/v2/models/<name>/infer"),
        f"{base}/versions/{model.version}/infer": Route(open_inference, versioned),
    }


class Read(NamedTuple):
    """Asks the door for the body.

    The door throws InvalidRequest in where it ends early, DeadlineExceeded where it does not come in time.

    Attributes:
        max_bytes: of it that are wanted.
        deadline: in seconds of the monotonic clock.
    """

    max_bytes: int
    deadline: float


class Reply(NamedTuple):
    """What a door sends."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Wait: TypeAlias = Read | Future[Any]
Observer = Callable[[RecordBatch], None]


def show(observers: Sequence[Observer], records: RecordBatch) -> None:
    """Lets observers look at requests; one that fails costs neither the others nor an answer."""
    for observe in observers:
        try:
            observe(records)
        except Exception:
            logger.exception("requests were answered, but not observed")


@dataclass
class Scorer:
    """Answers scoring requests with one model.

    Attributes:
        threads: run the team's own code, which may take long, beside the event loop.
        observers: look at requests that were answered.
        observe: shows them one, at once; a door may put another in its place, which shows them several later.
    """

    model: ServedModel
    settings: Settings
    batcher: Batcher
    callers: Callers
    threads: TransformExecutor
    observers: Sequence[Observer] = ()
    observe: Callable[[RequestRecord], None] = field(init=False)

    def __post_init__(self) -> None:
        self.observe = lambda record: show(self.observers, RecordBatch([record]))

    def answer(self, route: Route, headers: Mapping[str, str]) -> Generator[Wait, Any, Reply]:
        """The way of one request; what goes wrong with it becomes the reply.

        Where it has to wait it yields what for, and a door, which knows how to wait, sends the outcome in:
        for a `Read` the body's bytes, for a future its result. So the way is one for threads and for asyncio.

        Args:
            headers: looked up by name in lower case.
        """
        ids, fault = read_ids(headers)
        record = RequestRecord(ids[OWN], monotonic(), route.rule)
        record.traceparent = headers.get("traceparent", "")
        try:
            if fault:
                raise fault
            record.caller = self.callers.caller(headers)
            deadline = record.started + self.settings.request_timeout_ms / 1000
            max_bytes, coding = self._admit(headers, route.codec.MEDIA_TYPES)
            body = yield Read(max_bytes + 1, deadline)
            # Without this bound a client that sends no length could have us hold a body of any size.
            record.arrived = monotonic()
            if len(body) > max_bytes:
                raise BodyTooLarge(f"expected a body of at most {max_bytes} bytes, got more")
            if coding:
                body = inflate(body, coding, max_bytes)
            record.body_bytes = len(body)
            call = route.codec.decode(body, headers, self.model)
            del body
            inputs = call.inputs
            if self.model.before:
                inputs = yield self.threads.before(self.model.before, inputs, deadline)
            record.inputs = inputs
            record.rows = _rows(inputs)
            record.decoded = monotonic()
            result: Result = self.batcher.run(inputs, record.rows) or (
                yield self.batcher.submit(inputs, record.rows, deadline)
            )
            record.inferred = monotonic()
            (
                outputs,
                record.queue_duration,
                record.infer_duration,
                record.batch_rows,
                record.is_batch_leader,
            ) = result
            record.outputs = outputs
            if self.model.after:
                outputs = yield self.threads.after(self.model.after, outputs)
            own, reply = call.encode(outputs, self._about(record.id))
            # Triton's client asks for one coding; HTTP libraries list all they know, without being told to.
            if (wanted := headers.get("accept-encoding")) in CODINGS:
                own, reply = own | {"content-encoding": wanted}, deflate(reply, wanted)
            record.status = 200
            reply_headers = self.headers(ids)
            reply_headers["x-ms-run-fn-exec-ms"] = f"{record.infer_duration * 1000:.3f}"
            reply_headers.update(own)
            return Reply(200, reply_headers, reply)
        except RequestError as exc:
            # With its traceback it would keep this frame, that the record: a circle with all that was read.
            record.error = exc.with_traceback(None)
            record.status = exc.status
            return self.refuse(exc.status, str(exc), ids, exc.headers)
        except GeneratorExit:
            record.status = CLIENT_LEFT
            raise
        finally:
            record.duration = monotonic() - record.started
            self.observe(record)

    def headers(self, ids: Mapping[str, str]) -> dict[str, str]:
        """The headers of every reply."""
        return {
            "content-type": "application/json",
            **ids,
            "x-model-version": self.model.version,
            "x-model-digest": self.model.package.digest,
        }

    def refuse(self, status: int, message: str, ids: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        """The reply that says what went wrong."""
        body = orjson.dumps({"error": message, **self._about(ids[OWN])})
        return Reply(status, self.headers(ids) | dict(headers), body)

    def _about(self, id_: str) -> dict[str, str]:
        return {"id": id_, "model_name": self.model.name, "model_version": self.model.version}

    def _admit(self, headers: Mapping[str, str], media_types: Sequence[str]) -> tuple[int, str]:
        """The limit of the body and its coding, unless it need not be read: too large, or of unknown type."""
        media_type = headers.get("content-type", media_types[0])
        if media_type not in media_types:
            media_type = media_type.partition(";")[0].strip().lower()
            if media_type not in media_types:
                expected = " or ".join(media_types)
                raise UnsupportedMediaType(f"expected content-type {expected}, got {preview(media_type)}")
        coding = headers.get("content-encoding", "").strip().lower().replace("identity", "")
        if coding and coding not in CODINGS:
            raise UnsupportedMediaType(
                f"expected content-encoding {' or '.join(CODINGS)}, got {preview(coding)}"
            )
        limit = self.settings.max_body_bytes
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise BodyTooLarge(f"expected a body of at most {limit} bytes, got {length}")
        return limit, coding


def _rows(inputs: Mapping[str, Any]) -> int:
    for value in inputs.values():
        if isinstance(value, np.ndarray) and value.ndim:
            return len(value)
    return 1
