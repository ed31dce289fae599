"""Bodies of `POST /feedback`: what turned out to be true of an answer.

    {"id": "<x-prediction-id>", "row": 0, "label": 2, "revenue": 12.5}

or a list of such objects. `row` is the row of a request with several; every other member is a metric.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from app.errors import InvalidRequest
from app.tensors.io_spec import preview
from model_loader.package.feedback_values import find_fault
from model_loader.package.schema import FeedbackSchema

MAX_BODY_BYTES = 2**20
MAX_ROW = 2**31 - 1
PREDICTION_ID = re.compile(r"[0-9a-f]{32}")


class FeedbackValue(NamedTuple):
    """One reported value.

    Attributes:
        id: the `x-prediction-id` of the answer.
        row: of the request.
    """

    id: str
    row: int
    metric: str
    value: Any


def decode(body: bytes, metrics: Mapping[str, FeedbackSchema]) -> list[FeedbackValue]:
    """Decode a body.

    Args:
        metrics: metric → what may be reported.

    Raises:
        InvalidRequest: the body is malformed, or a value cannot be reported; the message names the metric.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"the body is not JSON: {exc}") from exc
    if isinstance(document, dict):
        return _values(document, metrics, "")
    if not isinstance(document, list) or not document:
        raise InvalidRequest(
            f"expected an object with 'id' and a metric, or a list of them, got {preview(document)}"
        )
    return [
        value for index, item in enumerate(document) for value in _values(item, metrics, f"item {index}: ")
    ]


def _values(item: Any, metrics: Mapping[str, FeedbackSchema], where: str) -> list[FeedbackValue]:
    if not isinstance(item, dict):
        raise InvalidRequest(f"{where}expected an object with 'id' and a metric, got {preview(item)}")
    reported = {name: value for name, value in item.items() if name not in ("id", "row")}
    id_, row = item.get("id"), item.get("row", 0)
    if not isinstance(id_, str) or not PREDICTION_ID.fullmatch(id_):
        got = preview(id_) if "id" in item else "none"
        raise InvalidRequest(f"{where}expected 'id' to be the x-prediction-id of an answer, got {got}")
    if type(row) is not int or not 0 <= row <= MAX_ROW:
        raise InvalidRequest(f"{where}expected 'row' to be a whole number from 0, got {preview(row)}")
    if not reported:
        raise InvalidRequest(
            f"{where}expected a metric: {', '.join(metrics) or 'schema.json has no feedback'}"
        )
    for metric, value in reported.items():
        if fault := find_fault(metrics, metric, value):
            raise InvalidRequest(f"{where}{fault}")
    return [FeedbackValue(id_, row, metric, value) for metric, value in reported.items()]
