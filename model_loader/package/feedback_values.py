"""Values that are reported about an answer later, compared with the `feedback` of `schema.json`."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from model_loader.package.io_spec import TensorSpec
from model_loader.package.schema import FeedbackSchema, Schema

MAX_TEXT_CHARACTERS = 1000
PREVIEW_CHARACTERS = 40


def feedback_metrics(schema: Schema | None, outputs: Iterable[TensorSpec]) -> Mapping[str, FeedbackSchema]:
    """Return metric → what may be reported: as in the schema, or else the truth of each output.

    Args:
        outputs: of the model. Without a schema, outputs with one value a row can be reported: as a number if
            the output is a float, otherwise as a label.
    """
    if schema:
        return schema.feedback
    metrics = {}
    for spec in outputs:
        is_scalar = spec.shape is not None and (len(spec.shape) < 2 or spec.shape[1:] == (1,))
        if is_scalar and "(" not in spec.datatype:
            kind = "number" if spec.datatype.startswith(("FP", "BF")) else "label"
            metrics[spec.name] = FeedbackSchema(spec.name, kind, output=spec.name)
    return metrics


def find_fault(metrics: Mapping[str, FeedbackSchema], metric: str, value: Any) -> str | None:
    """Return why a value cannot be reported, in words that name the metric; None if it can.

    Args:
        metrics: metric → what may be reported.
        value: as read from JSON.
    """
    if metric not in metrics:
        known = f"expected {', '.join(metrics)}" if metrics else "schema.json has no feedback"
        return f"unknown metric {_preview(metric)}; {known}"
    schema = metrics[metric]
    expected = None
    if schema.type == "boolean":
        expected = None if isinstance(value, bool) else "true or false"
    elif schema.type == "number":
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        expected = None if is_number else "a finite number"
    elif schema.classes:
        # 1 and true are equal in Python, and different labels.
        if not any(type(value) is type(label) and value == label for label in schema.classes):
            names = ", ".join(map(_preview, schema.classes[:5]))
            expected = f"one of {names}{', …' if len(schema.classes) > 5 else ''}"
    elif not isinstance(value, (str, int, bool)) or (
        isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS
    ):
        expected = f"a whole number, true, false, or text of at most {MAX_TEXT_CHARACTERS} characters"
    return f"metric '{metric}': expected {expected}, got {_preview(value)}" if expected else None


def _preview(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= PREVIEW_CHARACTERS else f"{text[:PREVIEW_CHARACTERS]}…"
