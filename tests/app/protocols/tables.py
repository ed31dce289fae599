"""A model of one input a column, and the table that its tests score."""

from typing import Any

import pandas as pd
from onnx import TensorProto, helper

from tests import models

FRAME = pd.DataFrame(
    {
        "job title": ['nurse, "head"', "Köchin", "two\nlines"],
        "age": [40.5, None, -1e-3],
        "count": [1, 2**53 + 1, -3],
        "is new": [True, False, True],
    }
)
KINDS: dict[str, tuple[int, models.Shape]] = {
    "age": (TensorProto.FLOAT, ["n", 1]),
    "job_title": (TensorProto.STRING, ["n", 1]),
    "count": (TensorProto.INT64, ["n"]),
    "is_new": (TensorProto.BOOL, ["n", 1]),
}
# What the model answers to the frame.
PREDICTIONS: list[Any] = [
    {"y_age": [40.5], "y_job_title": ['nurse, "head"'], "y_count": 1, "y_is_new": [True]},
    {"y_age": ["NaN"], "y_job_title": ["Köchin"], "y_count": 2**53 + 1, "y_is_new": [False]},
    {"y_age": [-0.001], "y_job_title": ["two\nlines"], "y_count": -3, "y_is_new": [True]},
]


def column_model() -> bytes:
    """Return a model that repeats its inputs, one a column, as skl2onnx makes of a ColumnTransformer."""
    return models.model(
        [helper.make_node("Identity", [name], [f"y_{name}"]) for name in KINDS],
        [models.tensor(name, *kind) for name, kind in KINDS.items()],
        [models.tensor(f"y_{name}", *kind) for name, kind in KINDS.items()],
    )
