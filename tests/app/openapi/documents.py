"""Models of every kind, and helpers to read a service's OpenAPI document."""

from collections.abc import Mapping
from typing import Any

import jsonschema
from flask.testing import FlaskClient
from onnx import TensorProto, helper

from tests import models
from tests.app.protocols.tables import column_model

KEYS = "me:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683\n"  # of "key"
DATATYPES = "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FLOAT16 BFLOAT16 FLOAT DOUBLE STRING"
EIGHT_BITS = ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ")
# Kind of model → the model, and valid requests.
KINDS: dict[str, tuple[bytes, list[Any]]] = {
    "affine": (
        models.affine(),
        [
            {"inputs": [[1, None]]},
            {"inputs": {"x": []}},
            {"instances": [{"x": [1, "NaN"]}, {"x": [1, 2]}]},
            {"dataframe_split": {"columns": ["p", 1], "data": [[1, None]], "index": ["a"]}},
            {"dataframe_records": [{"p q": 1, "r": "NaN"}, {"p q": 1, "r": 2}]},
            {"input_data": {"columns": ["p", "q"], "data": []}},
            {"input_data": [[1, 2]]},
            {"columns": ["p", "q"], "data": [[1, 2]]},
            [{"p": 1, "q": 2}],
        ],
    ),
    "total": (models.total(), [{"inputs": {"a": [1], "b": [2.0]}, "signature_name": "serving_default"}]),
    "columns": (
        column_model(),
        [
            {"instances": [{"age": 1, "job_title": "a", "count": 2, "is_new": True}]},
            {"instances": [{"age": [1], "job_title": ["a"], "count": 2, "is_new": [True]}]},
            {"dataframe_records": [{"age": None, "job_title": "", "count": 2, "is_new": False}]},
            {"columns": ["age", "job_title", "count", "is_new"], "data": [[1.5, "a", 2, True]]},
        ],
    ),
    "one column": (models.identity(TensorProto.FLOAT, [None, 1]), [{"instances": [1, 2]}, {"inputs": [[1]]}]),
    "default": (
        models.with_default(),
        [
            {"inputs": [[1, 2]]},
            {"inputs": {"x": [[1, 2]], "b": [0, 0]}},
            {"instances": [{"x": [1, 2], "b": 0}, {"x": [1, 2], "b": 0}]},
            {"instances": [{"x": [1, 2]}]},
        ],
    ),
    "sequence": (models.sequence(), [{"inputs": {"x": [[1.5], [], [[2, "NaN"]]]}}, {"instances": [[1], 2]}]),
    "optional": (models.optional(), [{"inputs": {}}, {"inputs": {"x": None}}, {"inputs": None}]),
    "map of strings": (
        models.vectorizer(TensorProto.STRING, string_vocabulary=["a", "b"]),
        [{"inputs": {"b": 2.5}}, {"inputs": {"x": {"b": 2.5}}}],
    ),
    "map of integers": (
        models.vectorizer(TensorProto.INT64, int64_vocabulary=[-1, 2]),
        [{"inputs": {"2": 2.5}}, {"inputs": {"x": {"-1": 2.5}}}],
    ),
    "gather": (models.gather(), [{"instances": [0, 2]}, {"inputs": [1.0]}]),
    "fixed batch": (models.identity(TensorProto.FLOAT, [2, 3]), [{"instances": [[1, 2, 3], [4, 5, 6]]}]),
    "any shape": (models.identity(TensorProto.INT8, None), [{"inputs": 3}, {"inputs": [[3], [4]]}]),
    "no rows": (models.identity(TensorProto.FLOAT, [None, 0]), [{"inputs": [[], []]}]),
    "no inputs": (
        models.model(
            [helper.make_node("Constant", [], ["y"], value_float=1)], [], [models.tensor("y", shape=[])]
        ),
        [{"inputs": {}}],
    ),
    **{
        name: (models.identity(TensorProto.DataType.Value(name), ["n", 2, "m"]), [{"inputs": []}])
        for name in (*DATATYPES.split(), *EIGHT_BITS)
    },
}
# Kind of model → invalid requests.
INVALID: dict[str, list[Any]] = {
    "default": [{"instances": [{"x": [1, 2], "b": 0}]}],
    "affine": [
        {},
        {"inputs": [[1, 2]], "instances": [[1, 2]]},
        {"inputs": [[1, 2]], "rows": 1},
        {"inputs": [[1, 2]], "signature_name": "other"},
        {"dataframe_split": {"columns": ["p", "q"], "data": [[1, "2"]]}},
        {"dataframe_split": {"columns": ["p"], "data": [[1]]}},
        {"dataframe_split": {"columns": ["p", "q"]}},
        {"dataframe_records": [{"p": 1}]},
        {"input_data": {"p": [1]}},
        [[1, 2]],
        [],
        {"inputs": {}},
        {"inputs": [[1, True]]},
        {"inputs": [[1, "nan"]]},
        {"inputs": [[1, 3.4028235677973366e38]]},
        {"inputs": [[1, 2, 3]]},
        {"instances": [{"x": [1]}]},
        {"instances": [{"x": [1, 2]}, [1, 2]]},
    ],
    "total": [{"inputs": [1]}, {"inputs": {"a": [1]}}, {"instances": []}, {"inputs": {"a": [1], "b": [1.5]}}],
    "map of integers": [
        {"inputs": {"x": 1}},
        {"inputs": {"01": 1}},
        {"inputs": {"1": [1]}},
        {"instances": []},
    ],
    "map of strings": [{"inputs": {"x": 2.5}}],
    "columns": [
        {"instances": [{"age": 1, "job_title": 1, "count": 2, "is_new": True}]},
        {"dataframe_split": {"columns": ["age", "job_title", "count"], "data": [[1.5, "a", 2]]}},
        {"dataframe_records": [{"age": 1, "job_title": "a", "count": 1.5, "is_new": True}]},
    ],
    "one column": [{"inputs": [1, 2]}, {"instances": [[1, 2]]}],
    "fixed batch": [{"instances": [[1, 2, 3]]}, {"inputs": []}],
    "no rows": [{"inputs": [[1], [2]]}],
    "INT8": [{"inputs": [[[128], [1]]]}, {"inputs": [[[None], [1]]]}],
    "FLOAT16": [{"inputs": [[[65520], [1]]]}],
    "FLOAT8E4M3FN": [{"inputs": [[["Infinity"], [1]]]}],
}


def get_document(client: FlaskClient, version: str = "3.1") -> Any:
    """Return a service's document."""
    reply = client.get(f"/swagger.json?version={version}", headers={"x-api-key": "key"})
    assert reply.status_code == 200
    return reply.get_json()


def validator(document: Mapping[str, Any], name: str) -> jsonschema.Draft202012Validator:
    """Return a validator for one of the document's schemas."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema.Draft202012Validator(schema)
