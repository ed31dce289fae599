"""One scoring request, from headers and body to a response.

It depends on neither Flask nor a server nor an event loop: the caller passes a `Request` and runs the
coroutine `Scorer.answer`. So authentication, limits, errors, ids and observers exist once.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import cached_property
from time import monotonic
from typing import Any, NamedTuple, Protocol, TypeVar

import orjson

from app.errors import BodyTooLarge, InternalError, RequestError
from app.model.batcher import Batcher
from app.model.columns import count_rows
from app.model.data_contract import DataContract
from app.model.served_model import ServedModel
from app.model.transform_executor import TransformExecutor
from app.observability.logging import to_utf8
from app.observability.request_record import ANONYMOUS, RequestRecord
from app.protocols import (
    invocations,
    open_inference,  # part: v2
    predict,
    score,
)
from app.protocols.codec import Body, Codec, DecodedRequest, Encoded
from app.scoring.admission import admit
from app.scoring.body_budget import UNCOUNTED_BYTES, BodyBudget, Reservation
from app.scoring.callers import OTHER, Callers
from app.scoring.compression import CODINGS, deflate, inflate
from app.scoring.request_ids import PREDICTION_ID, REQUEST_ID, read_ids
from app.settings import Settings
from app.tensors.to_json import NAN, has_nan, is_larger

T = TypeVar("T")
JSON: Mapping[str, str] = {"content-type": "application/json"}

# Larger bodies, and outputs with more elements, are decoded and encoded on threads. Up to here both take less
# than 1 ms for usual bodies, and at most 3 ms (`{}` for each row), measured with the sample model. CSV takes
# up to eight times as long, unless it is of numbers only: each field becomes a string first.
LARGE_BODY_BYTES = 64 * 1024
LARGE_CSV_BYTES = UNCOUNTED_BYTES
LARGE_OUTPUT_ELEMENTS = 8 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    """A path that scores.

    Attributes:
        codec: the protocol spoken there.
        rule: the path in log and metrics, with placeholders for the model's name and version.
    """

    codec: Codec
    rule: str


def routes(model: ServedModel) -> Mapping[str, Route]:
    """Return path → route. To add a protocol, add its module here."""
    return {
        "/score": Route(score, "/score"),
        "/invocations": Route(invocations, "/invocations"),
        f"/v1/models/{model.name}:predict": Route(predict, "/v1/models/<name>:predict"),
        f"/v1/models/{model.name}/versions/{model.version}:predict": Route(
            predict, "/v1/models/<name>/versions/<version>:predict"
        ),
        # part: v2
        f"/v2/models/{model.name}/infer": Route(open_inference, "/v2/models/<name>/infer"),
        f"/v2/models/{model.name}/versions/{model.version}/infer": Route(
            open_inference, "/v2/models/<name>/versions/<version>/infer"
        ),
        # end: v2
    }


class Request(Protocol):
    """A request, and how to wait in its thread or event loop.

    Attributes:
        headers: by lower-case name.
        address: the client's network address; empty if it is unknown.
    """

    @property
    def route(self) -> Route: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def address(self) -> str: ...

    async def body(self, max_bytes: int, deadline: float, reserve: Callable[[int], None] | None) -> Body:
        """Read the body, or its first bytes.

        Args:
            max_bytes: maximum number of bytes to read.
            deadline: in seconds of the monotonic clock.
            reserve: is called with the size of each part before it is kept; what it raises ends the body.
                None if the length is announced, and reserved already.

        Raises:
            InvalidRequest: the body ends early.
            DeadlineExceeded: the body is not complete at the deadline.
        """

    async def wait(self, future: Future[T], deadline: float) -> T:
        """Wait for a future, and return its result; cancel it at the deadline.

        Args:
            deadline: in seconds of the monotonic clock.

        Raises:
            DeadlineExceeded: the future is not done at the deadline.
        """


class Response(NamedTuple):
    """What is sent to the client, with the `common_headers` of the scorer."""

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray


@dataclass(frozen=True)
class Scorer:
    """Answers scoring requests with one model.

    Attributes:
        transform_executor: runs a team's hooks, which may be slow, outside the event loop.
        body_budget: limits the memory for bodies.
        decoding, encoding: run what would take long in the event loop. They are two, so that a finished
            inference does not queue behind requests that arrived later, and have one thread each, since the
            JSON parser needs several times the memory of a body.
        notify: gets the record of every finished request; must not raise.
        contract: every request must fit; None if it is only counted what does not.
    """

    model: ServedModel
    settings: Settings
    batcher: Batcher
    callers: Callers
    transform_executor: TransformExecutor
    body_budget: BodyBudget
    decoding: Executor
    encoding: Executor
    notify: Callable[[RequestRecord], None]
    contract: DataContract | None = None

    async def answer(self, request: Request) -> Response:
        """Answer a request: admit, decode, pre-process, infer, post-process, encode.

        A `RequestError` becomes the response. A coroutine that is closed or cancelled belongs to a
        client that has disconnected.
        """
        headers = request.headers
        ids, id_error = read_ids(headers)
        record = RequestRecord(ids[REQUEST_ID], monotonic(), request.route.rule)
        record.prediction_id = ids[PREDICTION_ID]
        record.traceparent = headers.get("traceparent", "")
        reservation = waiting = None
        try:
            if id_error:
                raise id_error  # noqa: TRY301 (the flow reads top to bottom)
            record.caller = self.callers.caller(headers)
            deadline = record.started + self.settings.request_timeout_ms / 1000
            length, coding = admit(headers, request.route.codec.MEDIA_TYPES, self.settings)
            if coding or length is None or length > UNCOUNTED_BYTES:
                reservation = Reservation(self.body_budget)
            if reservation and length and length > UNCOUNTED_BYTES:
                reservation.grow(length)
            max_bytes = self.settings.max_body_bytes
            reserve = reservation.grow if reservation and length is None else None
            # Without this bound a client that sends no length could fill the memory.
            body = await request.body(max_bytes + 1, deadline, reserve)
            record.arrived = monotonic()
            if len(body) > max_bytes:
                message = f"expected a body of at most {max_bytes} bytes, got more"
                raise BodyTooLarge(message)  # noqa: TRY301
            is_large = bool(coding) or len(body) > LARGE_BODY_BYTES
            is_large |= len(body) > LARGE_CSV_BYTES and "csv" in headers.get("content-type", "").lower()

            if is_large and reservation:
                waiting = [body]
                del body
                decoded = await request.wait(
                    self.decoding.submit(self._decode, request, waiting, coding, reservation, record),
                    deadline,
                )
            else:
                record.body_bytes = len(body)
                decoded = request.route.codec.decode(body, headers, self.model, self.settings.max_json_values)
                del body
            inputs = record.given = decoded.inputs
            if self.contract:
                self.contract.check(inputs)
            if self.model.before:
                inputs = await request.wait(
                    self.transform_executor.before(self.model.before, inputs, deadline), deadline
                )
            record.inputs = inputs
            record.rows = count_rows(inputs)
            record.decoded = monotonic()

            result = self.batcher.run(inputs, record.rows)
            if result is None:
                caller = request.address if record.caller in (ANONYMOUS, OTHER) else record.caller
                future = self.batcher.submit(inputs, record.rows, deadline, caller)
                result = await request.wait(future, deadline)
            record.inferred = monotonic()
            outputs = record.outputs = result.outputs
            record.queue_duration, record.infer_duration = result.queue_duration, result.infer_duration
            record.batch_rows, record.is_batch_leader = result.batch_rows, result.is_batch_leader

            if self.model.after:
                outputs = await request.wait(
                    self.transform_executor.after(self.model.after, outputs), deadline
                )
            record.answer = outputs
            # Triton's client accepts one coding; HTTP libraries list every coding they support.
            accepted = headers.get("accept-encoding", "")
            if is_large or is_larger(outputs.values(), LARGE_OUTPUT_ELEMENTS):
                own_headers, encoded = await request.wait(
                    self.encoding.submit(self._encode, decoded, outputs, record, accepted), deadline
                )
            else:
                own_headers, encoded = self._encode(decoded, outputs, record, accepted)
            record.status = 200
            duration_ms = f"{record.infer_duration * 1000:.3f}"
            response_headers = {**JSON, **ids, "x-ms-run-fn-exec-ms": duration_ms, **own_headers}
            return Response(200, response_headers, encoded)
        except RequestError as exc:
            # Drop the tracebacks: they reference this frame, and so the request body, in a cycle that only
            # the garbage collector would free. The log needs the cause of a failure.
            record.error = exc.with_traceback(None)
            if exc.status != 500:
                exc.__cause__ = exc.__context__ = None
            record.status = exc.status
            return self.error_response(exc.status, str(exc), ids, exc.headers)
        except Exception as exc:  # noqa: BLE001 (a server's own response would have neither id nor log line)
            record.error = InternalError()
            record.error.__cause__ = exc
            record.status = record.error.status
            return self.error_response(record.status, str(record.error), ids, {})
        finally:
            # The queue of a thread keeps the arguments of a call that was cancelled at the deadline.
            if waiting:
                waiting.clear()
            if reservation:
                reservation.release()
            record.duration = monotonic() - record.started
            self.notify(record)

    def _decode(
        self,
        request: Request,
        waiting: list[Body],
        coding: str,
        reservation: Reservation,
        record: RequestRecord,
    ) -> DecodedRequest:
        """Decompress and decode a body, which is removed from `waiting`."""
        body = waiting.pop()
        if coding:
            body = inflate(body, coding, self.settings.max_inflated_bytes, reservation.grow)
        record.body_bytes = len(body)
        return request.route.codec.decode(body, request.headers, self.model, self.settings.max_json_values)

    def _encode(
        self, decoded: DecodedRequest, outputs: Mapping[str, Any], record: RequestRecord, accepted: str
    ) -> Encoded:
        """Encode a response, and compress it if `accepted` is a coding."""
        own_headers, encoded = decoded.encode(outputs, self._about(record.id))
        if NAN in encoded:
            record.nan_outputs = [name for name, value in outputs.items() if has_nan(value)]
        if accepted not in CODINGS:
            return own_headers, encoded
        return own_headers | {"content-encoding": accepted}, deflate(encoded, accepted)

    @cached_property
    def common_headers(self) -> Mapping[str, str]:
        """The headers that all responses have; a response says what was asked, so nobody may keep it."""
        return {
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
            "x-model-version": self.model.version,
            "x-model-digest": self.model.package.digest,
        }

    def error_response(
        self, status: int, message: str, ids: Mapping[str, str], headers: Mapping[str, str]
    ) -> Response:
        """Return the response of a failed request."""
        # A hook's message may be any string of Python, also one that is not UTF-8.
        body = orjson.dumps({"error": to_utf8(message).decode(), **self._about(ids[REQUEST_ID])})
        return Response(status, {**JSON, **ids, **headers}, body)

    def _about(self, id_: str) -> dict[str, str]:
        return {"id": id_, "model_name": self.model.name, "model_version": self.model.version}
