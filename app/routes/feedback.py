"""`POST /feedback`: what turned out to be true is appended to the spool, for `python -m monitor`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

import orjson
from flask import Blueprint, Response, g, jsonify, request

from app.errors import BodyTooLarge, FeedbackOff, SpoolFull, UnsupportedMediaType
from app.protocols.feedback import MAX_BODY_BYTES, FeedbackValue, decode
from app.service import Service
from app.tensors.io_spec import preview
from model_loader.package.feedback_values import feedback_metrics
from model_loader.package.schema import read_schema

PATH = "/feedback"


def blueprint(service: Service) -> Blueprint:
    """Return the route `/feedback`."""
    routes = Blueprint("feedback", __name__)
    model = service.model
    metrics = feedback_metrics(read_schema(model.package), model.outputs.values())

    @routes.post(PATH)
    def feedback() -> tuple[Response, int]:
        caller = g.record.caller = service.scorer.callers.caller(cast(Mapping[str, str], request.headers))
        if service.capture is None:
            raise FeedbackOff("feedback is not kept: start the service with CAPTURE_DIR")
        # Another site's page cannot send this type without the browser asking first.
        if request.mimetype != "application/json":
            got = preview(request.mimetype) if request.mimetype else "none"
            raise UnsupportedMediaType(f"expected content-type application/json, got {got}")
        body = request.stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"expected a body of at most {MAX_BODY_BYTES} bytes, got more")
        values = decode(body, metrics)
        moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        lines = b"".join(_line(value, moment, caller) for value in values)
        # Only what is in the spool is accepted.
        if not service.capture.feedback.append_now(lines, 1):
            raise SpoolFull("feedback cannot be kept at the moment: the spool is full")
        return jsonify(accepted=len(values)), 202

    return routes


def _line(value: FeedbackValue, moment: str, caller: str) -> bytes:
    line = {"id": value.id, "row": value.row, "time": moment, "caller": caller}
    return orjson.dumps(
        {**line, "metric": value.metric, "value": value.value}, option=orjson.OPT_APPEND_NEWLINE
    )
