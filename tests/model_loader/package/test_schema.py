"""`schema.json`: the data contract, and its check against a model."""

from collections.abc import Sequence
from typing import Any

import pytest

from model_loader.errors import PackageError
from model_loader.package import TensorSpec
from model_loader.package.schema import FeedbackSchema, FieldSchema, check_schema, parse_schema

INPUT = TensorSpec("x", "FP32", ("batch", 2))
OUTPUTS = (
    TensorSpec("label", "STRING", ("batch",)),
    TensorSpec("probabilities", "seq(map(STRING, FP32))", None),
)
DOCUMENT: dict[str, Any] = {
    "features": {
        "a": {
            "type": "number",
            "unit": "m",
            "description": "height",
            "min": 0,
            "max": 3.5,
            "max_missing": 0.1,
        },
        "b": {"type": "integer", "categories": [1, 2], "pii": True},
    },
    "outputs": {"label": {"type": "string"}, "probabilities": {"type": "number", "min": 0, "max": 1}},
    "feedback": {
        "label": {"type": "label", "output": "label", "classes": ["no", "yes"]},
        "revenue": {"type": "number", "better": "higher", "description": "in EUR"},
    },
}


def test_parse() -> None:
    """Each entry has its fields and their defaults; personal data is not captured unless it says so."""
    schema = parse_schema(DOCUMENT)
    assert schema.features == {
        "a": FieldSchema("a", "number", "m", "height", 0, 3.5, max_missing=0.1),
        "b": FieldSchema("b", "integer", categories=(1, 2), pii=True, capture=False),
    }
    assert schema.feedback == {
        "label": FeedbackSchema("label", "label", "label", ("no", "yes")),
        "revenue": FeedbackSchema("revenue", "number", better="higher", description="in EUR"),
    }
    check_schema(schema, [INPUT], OUTPUTS, ["a", "b"])
    assert parse_schema({}).outputs == {}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "schema.json: expected an object, got list"),
        ({"fields": {}}, "schema.json: unknown field 'fields'; the fields are features, outputs, feedback"),
        ({"features": []}, "schema.json: expected 'features' to be dict, got list"),
        ({"features": {"a": "number"}}, "feature 'a': expected an object, got str"),
        ({"features": {"a": {}}}, "feature 'a': expected 'type' to be one of number, .*, got None"),
        ({"features": {"a": {"type": "float"}}}, "feature 'a': expected 'type' to be one of .*, got 'float'"),
        ({"features": {"a": {"type": ["number"]}}}, "feature 'a': expected 'type' to be str, got list"),
        ({"features": {"a": {"type": "number", "mean": 1}}}, "feature 'a': unknown field 'mean'"),
        (
            {"features": {"a": {"type": "number", "min": float("nan")}}},
            "'min' to be a finite number, got nan",
        ),
        ({"features": {"a": {"type": "number", "min": True}}}, "'min' to be a finite number, got True"),
        ({"features": {"a": {"type": "number", "min": 2, "max": 1}}}, "min to be at most max, got 2 and 1"),
        ({"features": {"a": {"type": "string", "max": 1}}}, "only numbers and integers have min and max"),
        ({"features": {"a": {"type": "number", "max_missing": 1.5}}}, "a share of 0 to 1, got 1.5"),
        ({"features": {"a": {"type": "number", "pii": 1}}}, "expected 'pii' to be bool, got int"),
        ({"features": {"a": {"type": "string", "categories": []}}}, "expected 1 to 10000 categories, got 0"),
        (
            {"features": {"a": {"type": "integer", "categories": [1.5]}}},
            "categories of the type int, got 1.5",
        ),
        ({"features": {"a": {"type": "integer", "categories": [True]}}}, "of the type int, got True"),
        ({"features": {"a": {"type": "string", "categories": ["x", "x"]}}}, "expected different categories"),
        ({"outputs": {"y": {"type": "string", "categories": [1]}}}, "output 'y': .* of the type str, got 1"),
        ({"feedback": {"id": {"type": "label"}}}, "feedback 'id': a feedback request has the field 'id'"),
        ({"feedback": {"m": {"type": "string"}}}, "feedback 'm': expected 'type' to be one of label, number"),
        ({"feedback": {"m": {"type": "number", "classes": [1]}}}, "feedback 'm': only a label has classes"),
        ({"feedback": {"m": {"type": "number", "better": "more"}}}, "'better' to be one of higher, lower"),
    ],
)
def test_bad_schema(document: Any, message: str) -> None:
    """What is not a schema is refused with the entry and the field."""
    with pytest.raises(PackageError, match=message):
        parse_schema(document)


@pytest.mark.parametrize(
    ("document", "features", "message"),
    [
        ({"features": {"c": {"type": "number"}}}, ["a", "b"], "feature 'c': .* no such feature; it has a, b"),
        ({"features": {"x": {"type": "number"}}}, ["a", "b"], "feature 'x': .* no such feature; it has a, b"),
        ({"features": {"a": {"type": "number"}}}, None, "feature 'a': .* no such feature; it has x"),
        ({"features": {"x": {"type": "string"}}}, None, "feature 'x': expected the type number or .* FP32"),
        ({"outputs": {"y": {"type": "number"}}}, None, "output 'y': the model has no such output"),
        ({"outputs": {"label": {"type": "number"}}}, None, "output 'label': expected the type string"),
        (
            {"outputs": {"probabilities": {"type": "string"}}},
            None,
            "output 'probabilities': expected .* number",
        ),
        (
            {"feedback": {"m": {"type": "label", "output": "y"}}},
            None,
            "feedback 'm': the model has no output 'y'",
        ),
        *(
            (
                {
                    "outputs": {"label": {"type": "string", **field}},
                    "feedback": {"m": {"type": "label", "output": "label"}},
                },
                None,
                "feedback 'm' is the truth of the output 'label', which is withheld or hashed",
            )
            for field in ({"pii": True}, {"pii": "hash"}, {"capture": False})
        ),
    ],
)
def test_schema_of_another_model(document: Any, features: Sequence[str] | None, message: str) -> None:
    """A schema with a name or a type that the model does not have is refused by name."""
    with pytest.raises(PackageError, match=message):
        check_schema(parse_schema(document), [INPUT], OUTPUTS, features)
