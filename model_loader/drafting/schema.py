"""`schema.json`: the data contract, as the data shows it.

The format is described in `model_loader.package.schema`, which reads it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.evaluation import Evaluation
from model_loader.drafting.inputs import Inputs
from model_loader.drafting.json_values import to_json
from model_loader.drafting.session import Output

MAX_CATEGORIES = 50
MAX_CATEGORY_CHARACTERS = 100


def make_schema(
    inputs: Inputs, outputs: Mapping[str, Output], evaluation: Evaluation, target: str | None
) -> dict[str, Any]:
    """Return the content of `schema.json`; with a target, it is the feedback that the service takes."""
    document: dict[str, Any] = {
        "features": {name: _field(values) | _missing(inputs, name) for name, values in inputs.fields.items()},
        "outputs": {name: _output(name, value, evaluation) for name, value in outputs.items()},
    }
    task = evaluation.task
    if target is None or task.output is None:
        return document
    if task.number:
        truth: dict[str, Any] = {"type": "number", "output": task.number}
    else:
        truth = {"type": "label", "output": task.output}
        if evaluation.classes:
            truth["classes"] = list(evaluation.classes)
    return document | {"feedback": {target: truth}}


def field_type(values: NDArray[Any]) -> str:
    """Return the schema's type of an array's values."""
    kinds = {"b": "boolean", "i": "integer", "u": "integer", "O": "string", "U": "string"}
    return kinds.get(values.dtype.kind, "number")


def _field(values: NDArray[Any]) -> dict[str, Any]:
    kind = field_type(values)
    field: dict[str, Any] = {"type": kind}
    if kind in ("number", "integer"):
        finite = values[np.isfinite(values)] if kind == "number" else values
        if finite.size:
            field |= {"min": to_json(finite.min()), "max": to_json(finite.max())}
    elif kind == "string" and (categories := _categories(values)):
        field["categories"] = categories
    return field


def _categories(values: NDArray[Any]) -> Sequence[str] | None:
    """Return the different texts, if they are few compared with the rows."""
    found = sorted({*values.ravel().tolist()})
    few = len(found) <= MAX_CATEGORIES and 2 * len(found) <= values.size
    return found if few and all(len(text) <= MAX_CATEGORY_CHARACTERS for text in found) else None


def _missing(inputs: Inputs, name: str) -> dict[str, float]:
    # Rounded up, so that the data itself fits.
    return {"max_missing": math.ceil(inputs.missing[name] * 1e4) / 1e4}


def _output(name: str, value: Output, evaluation: Evaluation) -> dict[str, Any]:
    if name == evaluation.task.probabilities:
        return {"type": "number", "min": 0, "max": 1}
    if not isinstance(value, np.ndarray):
        return {"type": "number"}
    field: dict[str, Any] = {"type": field_type(value)}
    if name == evaluation.task.label and evaluation.classes and field["type"] != "boolean":
        field["categories"] = list(evaluation.classes)
    return field
