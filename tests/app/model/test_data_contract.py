"""Requests compared with `schema.json`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from app.errors import InvalidRequest
from app.model.data_contract import DataContract
from app.model.onnx_model import load, open_package
from app.model.served_model import ServedModel
from app.model.transform import Transform
from app.settings import Settings
from app.tensors.datatypes import DATATYPES
from model_loader.package.schema import parse_schema
from tests import models
from tests.conftest import write_package

NAN = float("nan")
TYPES = {
    "STRING": TensorProto.STRING,
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP64": TensorProto.DOUBLE,
}
TABLE = {
    "a": {"type": "number", "min": 11.03, "max": 14.83},
    "b": {"type": "integer", "min": 0, "categories": [0, 1, 7], "max_missing": 0},
}


def contract(tmp_path: Path, model: bytes, rules: Any, **manifest: Any) -> DataContract:
    """Return the contract of a model with these rules for its features."""
    schema = {"features": rules}
    package = write_package(tmp_path / "package", model, schema=schema, **manifest)
    served = ServedModel(load(open_package(package), Settings(web_concurrency=1).resolved(1)), Transform)
    return DataContract(parse_schema(schema), served)


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        ([[11.03, 0], [14.83, 7]], {}),
        ([[11.02, 0], [14.84, 1]], {("a", "below"): 1, ("a", "above"): 1}),
        ([[NAN, NAN], [NAN, 1]], {("a", "missing"): 2, ("b", "missing"): 1}),
        ([[12, 0.5]], {("b", "type"): 1, ("b", "category"): 1}),
        ([[12, -1]], {("b", "below"): 1, ("b", "category"): 1}),
        ([[12, 2]], {("b", "category"): 1}),
        ([[np.inf, 1], [-np.inf, 1]], {("a", "above"): 1, ("a", "below"): 1}),
    ],
    ids=["limits", "beyond", "missing", "not whole", "negative", "category", "infinite"],
)
def test_table(tmp_path: Path, rows: Any, counts: dict[tuple[str, str], int]) -> None:
    """Each rule counts the values that violate it; a limit is compared in the precision of the input."""
    rules = contract(tmp_path, models.affine(), TABLE, features=["a", "b"])
    array = np.array(rows, np.float32)
    assert rules.count([{"x": array}]) == counts
    assert rules.count([{"x": row[None]} for row in array]) == counts  # the requests of a batch


def test_columns_without_rules(tmp_path: Path) -> None:
    """A column that the schema does not name, or another width, violates nothing but `missing`."""
    rules = contract(tmp_path, models.affine(), {"b": TABLE["b"]}, features=["a", "b"])
    assert rules.count([{"x": np.array([[1e9, 1]], np.float32)}]) == {}
    assert rules.count([{"x": np.array([[NAN, 1]], np.float32)}]) == {("a", "missing"): 1}


@pytest.mark.parametrize(
    ("datatype", "field", "values", "counts"),
    [
        ("STRING", {"type": "string", "categories": ["red", "blue"]}, ["red", "gray", ""], {"category": 2}),
        ("BOOL", {"type": "boolean"}, [True, False], {}),
        ("INT64", {"type": "integer", "min": 1, "max": 3}, [0, 1, 3, 4], {"below": 1, "above": 1}),
        ("INT64", {"type": "boolean"}, [0, 1, 2], {"type": 1}),
        ("FP64", {"type": "boolean"}, [0, 1, 0.5, NAN], {"type": 1, "missing": 1}),
        ("FP64", {"type": "number", "categories": [0.1, 0.2]}, [0.1, 0.3], {"category": 1}),
        ("FP16", {"type": "number", "max": 2.1}, [2.1, 2.2], {"above": 1}),
        ("BF16", {"type": "number", "max": 2}, [2, 3, NAN], {"above": 1, "missing": 1}),
        ("UINT8", {"type": "integer", "max": 300}, [255], {}),
    ],
)
def test_inputs(tmp_path: Path, datatype: str, field: Any, values: list[Any], counts: dict[str, int]) -> None:
    """The rules hold for inputs of every type."""
    rules = contract(tmp_path, models.identity(TYPES[datatype]), {"x": field})
    array = np.array(values, DATATYPES[datatype])
    assert rules.count([{"x": array}]) == {("x", rule): number for rule, number in counts.items()}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[12, 1], [11.02, 1]], "feature 'a': expected at least 11.03, got 11.02"),
        ([[14.9, 1]], "feature 'a': expected at most 14.83, got 14.9"),
        ([[12, NAN]], "feature 'b': expected a value, got nan in row 0"),
        ([[12, 2]], "feature 'b': expected one of 0, 1, 7, got 2.0 in row 0"),
        ([[12, 0.5]], "feature 'b': expected a whole number, got 0.5 in row 0"),
    ],
)
def test_enforced(tmp_path: Path, rows: Any, message: str) -> None:
    """A violation is refused with its feature, value and row; a missing value only where none may be."""
    rules = contract(tmp_path, models.affine(), TABLE, features=["a", "b"])
    rules.check({"x": np.array([[NAN, 1]], np.float32)})
    with pytest.raises(InvalidRequest) as refused:
        rules.check({"x": np.array(rows, np.float32)})
    assert str(refused.value).startswith(message)
    assert refused.value.name in message
