"""`schema.json`: the data contract: what a feature and an output may be, and what is reported as feedback.

    {"features": {"alcohol": {"type": "number", "unit": "% vol", "min": 11.0, "max": 14.9},
                  "job": {"type": "string", "categories": ["clerk", "cook"], "pii": true}},
     "outputs": {"label": {"type": "integer", "categories": [0, 1, 2]}},
     "feedback": {"label": {"type": "label", "output": "label", "classes": [0, 1, 2]},
                  "revenue": {"type": "number", "better": "higher"}}}

A feature has a column's name from the manifest's `features` or, without these, an input's name; an output is
named as in the graph. With `transformed` in the manifest, both are named as in `app/transform.py`. Each of
the three objects, and every field of a feature but its `type`, is optional.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from model_loader.errors import PackageError
from model_loader.package.io_spec import TensorSpec
from model_loader.package.json_file import is_number, read_json
from model_loader.package.manifest_fields import SCHEMA_FILE
from model_loader.package.verify import Package

# Type in a schema → the Python types of its values in JSON.
TYPES: Mapping[str, tuple[type, ...]] = {
    "number": (int, float),
    "integer": (int,),
    "string": (str,),
    "boolean": (bool,),
}
FEEDBACK_TYPES = ("label", "number", "boolean")
BETTER = ("higher", "lower")
# Fields of a feedback request that are not metrics.
RESERVED_METRICS = frozenset({"id", "row"})
MAX_CATEGORIES = 10_000


@dataclass(frozen=True)
class FieldSchema:
    """What the values of one feature or output may be.

    Attributes:
        type: `number`, `integer`, `string` or `boolean`.
        minimum: least value of a number, inclusive; None: unlimited.
        maximum: greatest value of a number, inclusive; None: unlimited.
        categories: all values; empty: unlimited.
        max_missing: greatest share of missing values, 0 to 1; None: unlimited.
        pii: whether it is personal data; `hash`: it is, and a keyed hash of each value may be recorded.
        capture: whether its values may be recorded; by default not if `pii` is true.
    """

    name: str
    type: str
    unit: str | None = None
    description: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[Any, ...] = ()
    max_missing: float | None = None
    pii: bool | Literal["hash"] = False
    capture: bool = True

    @property
    def is_withheld(self) -> bool:
        """Whether its values may not be recorded, or only as hashes."""
        return not self.capture or self.pii == "hash"


@dataclass(frozen=True)
class FeedbackSchema:
    """What may be reported about an answer later.

    Attributes:
        metric: name of the reported value.
        type: `label`, `number` or `boolean`.
        output: the output that it is the truth of; None: of none, as revenue.
        classes: all labels; empty: unlimited.
        better: `higher` or `lower`, for a metric that is a measure of quality itself; None otherwise.
    """

    metric: str
    type: str
    output: str | None = None
    classes: tuple[Any, ...] = ()
    better: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class Schema:
    """The content of `schema.json`; each mapping is by name."""

    features: Mapping[str, FieldSchema]
    outputs: Mapping[str, FieldSchema]
    feedback: Mapping[str, FeedbackSchema]


def parse_schema(document: Any, source: str = SCHEMA_FILE) -> Schema:
    """Parse the JSON of a `schema.json`.

    Args:
        source: the name of the file in messages.

    Raises:
        PackageError: it is not a schema; the message names the feature, output or metric, and the field.
    """
    members = _members(source, document, {"features": dict, "outputs": dict, "feedback": dict})
    return Schema(
        {name: _field(f"{source}: feature '{name}'", name, value) for name, value in members["features"]},
        {name: _field(f"{source}: output '{name}'", name, value) for name, value in members["outputs"]},
        {name: _feedback(f"{source}: feedback '{name}'", name, value) for name, value in members["feedback"]},
    )


def read_schema(package: Package) -> Schema | None:
    """Return the package's schema, or None if it has no `schema.json`.

    Raises:
        PackageError: the file is not a schema.
    """
    document = read_schema_document(package)
    return None if document is None else parse_schema(document, f"{package}: {SCHEMA_FILE}")


def withheld(fields: Mapping[str, FieldSchema]) -> frozenset[str]:
    """Return the names of the fields whose values may not be recorded, or only as hashes."""
    return frozenset(name for name, field in fields.items() if field.is_withheld)


def read_schema_document(package: Package) -> Any:
    """Return the JSON of the package's `schema.json`, or None if it has none.

    Raises:
        PackageError: the file is not JSON.
    """
    path = package.path / SCHEMA_FILE
    return None if package.path.is_file() or not path.is_file() else read_json(path)


def check_schema(
    schema: Schema,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    features: Sequence[str] | None,
    source: str = SCHEMA_FILE,
) -> None:
    """Check that a schema is of the model with these inputs and outputs.

    Args:
        features: the manifest's column names of the only input, if any.

    Raises:
        PackageError: the schema has a name that the model does not have, a type that it cannot have, or
            feedback that would reveal an output that it withholds.
    """
    by_input = {spec.name: spec.datatype for spec in inputs}
    by_output = {spec.name: spec.datatype for spec in outputs}
    if features:
        required = next(spec for spec in inputs if not spec.optional)
        by_input = dict.fromkeys(features, required.datatype)
    _check_fields(f"{source}: feature", schema.features, by_input)
    _check_fields(f"{source}: output", schema.outputs, by_output)
    for feedback in schema.feedback.values():
        if feedback.output is not None and feedback.output not in by_output:
            raise PackageError(
                f"{source}: feedback '{feedback.metric}': the model has no output '{feedback.output}'; "
                f"it has {', '.join(by_output)}"
            )
        if feedback.output in withheld(schema.outputs):
            raise PackageError(
                f"{source}: feedback '{feedback.metric}' is the truth of the output '{feedback.output}', "
                "which is withheld or hashed, and feedback is recorded as it is: let the output be recorded, "
                "or remove the feedback"
            )


def _check_fields(where: str, fields: Mapping[str, FieldSchema], datatypes: Mapping[str, str]) -> None:
    for field in fields.values():
        if field.name not in datatypes:
            kind = where.rpartition(" ")[2]
            raise PackageError(
                f"{where} '{field.name}': the model has no such {kind}; it has {', '.join(datatypes)}"
            )
        datatype = datatypes[field.name]
        # The values of a `seq(map(INT64, FP32))` are FP32.
        kinds = {"STRING": ("string",), "BOOL": ("boolean",)}
        fitting = kinds.get(re.findall(r"\w+", datatype)[-1], ("number", "integer", "boolean"))
        if field.type not in fitting:
            raise PackageError(
                f"{where} '{field.name}': expected the type {' or '.join(fitting)}, because the model has "
                f"{datatype}, got {field.type}"
            )


def _members(where: str, document: Any, names: Mapping[str, type]) -> dict[str, Any]:
    """Return the entries of each of the objects in a document."""
    values = _values(where, document, names)
    return {name: values.get(name, {}).items() for name in names}


def _values(where: str, document: Any, types: Mapping[str, type]) -> dict[str, Any]:
    """Return a document that has fields of these types only; those that are null are left out."""
    if not isinstance(document, dict):
        raise PackageError(f"{where}: expected an object, got {type(document).__name__}")
    for name, value in document.items():
        if name not in types:
            raise PackageError(f"{where}: unknown field '{name}'; the fields are {', '.join(types)}")
        if types[name] is float:
            if value is not None and not is_number(value):
                raise PackageError(f"{where}: expected '{name}' to be a finite number, got {value!r:.40}")
        elif value is not None and type(value) is not types[name]:
            raise PackageError(
                f"{where}: expected '{name}' to be {types[name].__name__}, got {type(value).__name__}"
            )
    return {name: value for name, value in document.items() if value is not None}


def _field(where: str, name: str, document: Any) -> FieldSchema:
    types = {"type": str, "unit": str, "description": str, "min": float, "max": float, "categories": list}
    is_hashed = isinstance(document, dict) and document.get("pii") == "hash"
    types |= {"max_missing": float, "pii": str if is_hashed else bool, "capture": bool}
    values = _values(where, document, types)
    kind = _choice(where, values, "type", TYPES)
    minimum, maximum = values.get("min"), values.get("max")
    if (minimum is not None or maximum is not None) and kind not in ("number", "integer"):
        raise PackageError(f"{where}: only numbers and integers have min and max, the type is {kind}")
    if minimum is not None and maximum is not None and minimum > maximum:
        raise PackageError(f"{where}: expected min to be at most max, got {minimum} and {maximum}")
    if not 0 <= values.get("max_missing", 0) <= 1:
        raise PackageError(
            f"{where}: expected max_missing to be a share of 0 to 1, got {values['max_missing']}"
        )
    pii = values.get("pii", False)
    return FieldSchema(
        name=name,
        type=kind,
        unit=values.get("unit"),
        description=values.get("description"),
        minimum=minimum,
        maximum=maximum,
        categories=_categories(where, values, "categories", TYPES[kind]),
        max_missing=values.get("max_missing"),
        pii=pii,
        capture=values.get("capture", pii is not True),
    )


def _feedback(where: str, metric: str, document: Any) -> FeedbackSchema:
    if metric in RESERVED_METRICS:
        raise PackageError(f"{where}: a feedback request has the field '{metric}' already: rename the metric")
    types = {"type": str, "output": str, "classes": list, "better": str, "description": str}
    values = _values(where, document, types)
    kind = _choice(where, values, "type", FEEDBACK_TYPES)
    if "classes" in values and kind != "label":
        raise PackageError(f"{where}: only a label has classes, the type is {kind}")
    return FeedbackSchema(
        metric=metric,
        type=kind,
        output=values.get("output"),
        classes=_categories(where, values, "classes", (str, int, float, bool)),
        better=_choice(where, values, "better", BETTER) if "better" in values else None,
        description=values.get("description"),
    )


def _choice(
    where: str, values: Mapping[str, Any], name: str, choices: Mapping[str, Any] | Sequence[str]
) -> str:
    value: str | None = values.get(name)
    if value is None or value not in choices:
        raise PackageError(f"{where}: expected '{name}' to be one of {', '.join(choices)}, got {value!r:.40}")
    return value


def _categories(where: str, values: Mapping[str, Any], name: str, types: tuple[type, ...]) -> tuple[Any, ...]:
    """Return a list of different values of these types; empty if there is none."""
    if name not in values:
        return ()
    items: list[Any] = values[name]
    if not 0 < len(items) <= MAX_CATEGORIES:
        raise PackageError(f"{where}: expected 1 to {MAX_CATEGORIES} {name}, got {len(items)}")
    for item in items:
        if type(item) not in types:
            expected = ", ".join(kind.__name__ for kind in types)
            raise PackageError(f"{where}: expected {name} of the type {expected}, got {item!r:.40}")
    if len({(type(item), item) for item in items}) != len(items):
        raise PackageError(f"{where}: expected different {name}, got one of them twice")
    return tuple(items)
