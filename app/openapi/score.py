"""JSON Schemas of requests and responses of `POST /score`.

https://json-schema.org/draft/2020-12, as in OpenAPI 3.1. Descriptions state what a schema cannot: rows have
the same length if a dimension is free, and a symbolic dimension has the same size in all inputs.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import ml_dtypes
import numpy as np

from app.model.served_model import ServedModel
from app.openapi import tables
from app.openapi.features import described
from app.openapi.parts import Schema, closed_object, exactly, schema_ref
from app.protocols.predictions import ReplyForm
from app.protocols.score import SIGNATURE
from app.tensors.datatypes import DATATYPES, INTEGERS, NON_FINITE
from app.tensors.io_spec import describe, single_input
from model_loader.package import TensorSpec

Shape: TypeAlias = tuple[int | str | None, ...] | None

# Without leading zeros, so that different keys of a map are different integers.
INTEGER_KEY = "^(0|-?[1-9][0-9]{0,19})$"


def has_tables(model: ServedModel) -> bool:
    """Return whether a table can have all inputs without a default."""
    return _instances(model) is not None and not all(spec.optional for spec in model.inputs.values())


def request_schema(model: ServedModel, *, with_tables: bool) -> Schema:
    """Return the schema of a request's body.

    Args:
        with_tables: whether the route reads tables.
    """
    forms = [_request_form("By columns", "inputs", _columns(model.inputs))]
    if instances := _instances(model):
        forms.append(_request_form("By rows", "instances", instances))
        if with_tables and has_tables(model):
            forms += _tables(model, instances)
    return {"oneOf": forms}


def response_schema(model: ServedModel, form: ReplyForm) -> Schema:
    """Return the schema of a response's body, as a protocol writes the outputs."""
    is_bare = not form.is_named and len(model.outputs) == 1
    outputs = {name: _described(spec, _value(spec, in_request=False)) for name, spec in model.outputs.items()}
    (bare, *_), columns = outputs.values(), closed_object(outputs)
    forms = [_response_form("By columns", {form.columns: bare if is_bare else columns}, model)]
    rows = {name: _row(spec.datatype, spec.shape, in_request=False) for name, spec in model.outputs.items()}
    if _instances(model):
        (bare_row, *_), row = rows.values(), closed_object(rows)
        predictions = {"type": "array", "items": bare_row if is_bare else row}
        forms.append(_response_form("By rows", {"predictions": predictions}, model))
    return {"oneOf": forms}


def error_schema(model: ServedModel) -> Schema:
    """Return the schema of an error's body."""
    message = {"type": "string", "description": "Names what was expected and what was received."}
    return _response_form("Error", {"error": message}, model)


def component_schemas(model: ServedModel) -> dict[str, Schema]:
    """Return the schemas of the model's datatypes: one element, and nested arrays of any shape."""
    specs = [*model.inputs.values(), *model.outputs.values()]
    found: dict[str, Schema] = {}
    for datatype in sorted({word for spec in specs for word in re.findall("[A-Z][A-Z0-9]+", spec.datatype)}):
        found[datatype] = _element(datatype)
        if _is_float(datatype):
            missing = {"type": "null", "description": "A missing value, read as NaN."}
            found[element_name(datatype, in_request=True)] = {"anyOf": [schema_ref(datatype), missing]}
    for name in list(found):
        nested = {"type": "array", "items": schema_ref(f"{name}OfAnyShape")}
        found[f"{name}OfAnyShape"] = {"anyOf": [schema_ref(name), nested]}
    return found


def element_name(datatype: str, *, in_request: bool) -> str:
    """Return the component's name of one element; in a request a missing float may be null."""
    return f"{datatype}OrNull" if in_request and _is_float(datatype) else datatype


def _request_form(title: str, member: str, schema: Schema) -> Schema:
    signature_name = {"const": SIGNATURE, "description": "Sent by TensorFlow Serving's clients."}
    return {"title": title} | closed_object({member: schema, "signature_name": signature_name}, [member])


def _response_form(title: str, members: Mapping[str, Schema], model: ServedModel) -> Schema:
    about = {
        "id": {"type": "string", "description": "The same as the header `x-request-id`."},
        "model_name": {"const": model.name},
        "model_version": {"const": model.version},
    }
    return {"title": title} | closed_object({**members, **about})


def _columns(inputs: Mapping[str, TensorSpec]) -> Schema:
    """Return the columnar form: an object of inputs by name, or the bare value of a single input."""
    properties = {name: _described(spec, _value(spec, in_request=True)) for name, spec in inputs.items()}
    single = single_input(inputs)
    is_map = single is not None and single.datatype.startswith("map(")
    # A map is an object too. It is read as inputs by name only if it has all of their names.
    named = closed_object(properties, [name for name, spec in inputs.items() if is_map or not spec.optional])
    if single is None:
        return named
    bare = properties[single.name] | (_not_exactly(inputs) if is_map else {})
    return {"anyOf": [named, bare]}


def _tables(model: ServedModel, instances: Schema) -> list[Schema]:
    """Return the forms of DataFrames."""
    single = single_input(model.inputs)
    is_matrix = single is not None and single.datatype in DATATYPES and len(single.shape or ()) == 2
    element = element_name(single.datatype, in_request=True) if single and is_matrix else None
    rows = {spec.name: _row(spec.datatype, spec.shape, in_request=True) for spec in model.inputs.values()}
    named = {name: row for name, row in rows.items() if row is not None}
    counts = {size for spec in model.outputs.values() if (size := _first_size(spec)) is not None}
    counts |= {size for name in named if (size := _first_size(model.inputs[name])) is not None}
    limits = exactly(max(counts)) if counts else {}
    split = tables.split(model, named, element, limits)
    records = tables.records(model, named, element, limits)
    return [
        _request_form("DataFrame by columns and rows", "dataframe_split", split),
        _request_form("DataFrame by rows", "dataframe_records", records),
        _request_form("As Azure Machine Learning", "input_data", {"anyOf": [split, instances]}),
        {"title": "pandas, orient=split"} | split,
        {"title": "pandas, orient=records"} | records | {"minItems": records.get("minItems", 1)},
    ]


def _instances(model: ServedModel) -> Schema | None:
    """Return the row form; None if the model does not support it."""
    required = [spec for spec in model.inputs.values() if not spec.optional]
    rows = {spec.name: _row(spec.datatype, spec.shape, in_request=True) for spec in model.inputs.values()}
    response_rows = [_row(spec.datatype, spec.shape, in_request=False) for spec in model.outputs.values()]
    first_sizes = {_first_size(spec) for spec in (*required, *model.outputs.values())}
    counts = {size for size in first_sizes if size is not None}
    features = model.features
    if None in response_rows or any(rows[spec.name] is None for spec in required) or len(counts) > 1:
        return None
    # An optional input with a fixed first dimension fits only that number of instances.
    sizes = {name: _first_size(spec) for name, spec in model.inputs.items() if spec.optional}
    named = {name: row for name, row in rows.items() if row is not None}
    free = {name: row for name, row in named.items() if sizes.get(name) is None}
    limits = exactly(max(counts)) if counts else {"minItems": 0 if single_input(model.inputs) else 1}
    forms = [{"type": "array", "items": item} | limits for item in _items(model, free)]
    for size in {sizes[name] for name in named.keys() - free.keys()} if not features else ():
        sized = {name: row for name, row in named.items() if sizes.get(name) in (None, size)}
        if size is not None and counts <= {size}:
            forms.append({"type": "array", "items": _named(sized, model.inputs)} | exactly(size))
    return {
        "description": "All instances have the same form as the first, and name the same inputs.",
        "anyOf": forms,
    }


def _first_size(spec: TensorSpec) -> int | None:
    """Return the size of the first dimension; None if it is not fixed."""
    return spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else None


def _items(model: ServedModel, rows: Mapping[str, Schema]) -> list[Schema]:
    """Return the possible forms of an instance."""
    features = model.features
    single = single_input(model.inputs)
    if single is None or single.name not in rows:
        return [_named(described(model, rows), model.inputs)]
    bare = rows[single.name]
    if single.datatype.startswith("seq(map("):
        bare = bare | _not_exactly([single.name])
    if not features:
        return [_named(described(model, rows), model.inputs), bare]
    column = schema_ref(element_name(single.datatype, in_request=True))
    by_column = closed_object(described(model, dict.fromkeys(features, column)))
    # If a column has the same name as the input, the object is read by columns.
    by_name = [] if single.name in features else [closed_object({single.name: bare})]
    return [by_column, *by_name, bare]


def _named(rows: Mapping[str, Schema], inputs: Mapping[str, TensorSpec]) -> Schema:
    return closed_object(rows, [name for name in rows if not inputs[name].optional]) | {"minProperties": 1}


def _not_exactly(names: Iterable[str]) -> Schema:
    """Return a schema that excludes objects with exactly these names."""
    names = list(names)
    return {"not": {"type": "object", "required": names, "maxProperties": len(names)}}


def _described(spec: TensorSpec, schema: Schema) -> Schema:
    return {"description": describe(spec)} | schema


def _value(spec: TensorSpec, *, in_request: bool) -> Schema:
    return _typed(spec.datatype, spec.shape, in_request=in_request)


def _typed(datatype: str, shape: Shape, *, in_request: bool) -> Schema:
    """Return the schema of a value of a datatype.

    Args:
        in_request: whether the value is part of a request, in which a missing float may be null.
    """
    if datatype in DATATYPES:
        return _tensor(datatype, shape, in_request=in_request)
    outer, _, inner = datatype.removesuffix(")").partition("(")
    if outer == "optional":
        return {"anyOf": [_typed(inner, shape, in_request=in_request), {"type": "null"}]}
    if outer == "seq":
        return {"type": "array", "items": _typed(inner, None, in_request=in_request)}
    key, value = inner.split(", ")
    element = schema_ref(element_name(value, in_request=in_request))
    schema: Schema = {"type": "object", "additionalProperties": element}
    if key == "STRING":
        return schema
    return schema | {"propertyNames": {"pattern": INTEGER_KEY, "description": f"In the range of {key}."}}


def _tensor(datatype: str, shape: Shape, *, in_request: bool) -> Schema:
    name = element_name(datatype, in_request=in_request)
    if shape is None:
        return schema_ref(f"{name}OfAnyShape")
    schema = schema_ref(name)
    for size in reversed(shape):
        schema = {"type": "array", "items": schema} | (exactly(size) if isinstance(size, int) else {})
    return schema


def _row(datatype: str, shape: Shape, *, in_request: bool) -> Schema | None:
    """Return the schema of one instance's part of a value; None if the value cannot be split."""
    if datatype in DATATYPES:
        row = _tensor(datatype, shape and shape[1:], in_request=in_request)
        has_one = in_request and shape is not None and shape[1:] == (1,)
        return {"anyOf": [row, schema_ref(element_name(datatype, in_request=True))]} if has_one else row
    outer, _, inner = datatype.removesuffix(")").partition("(")
    if outer == "optional":
        return _row(inner, shape, in_request=in_request)
    return _typed(inner, None, in_request=in_request) if outer == "seq" else None


def _element(datatype: str) -> Schema:
    """Return the schema of one element of a tensor in a response."""
    if datatype in ("BOOL", "STRING"):
        return {"type": {"BOOL": "boolean", "STRING": "string"}[datatype]}
    if not _is_float(datatype):
        minimum, maximum = INTEGERS[datatype]
        return {"type": "integer", "minimum": minimum, "maximum": maximum}
    maximum = _max_rounded_to_finite(datatype)
    with np.errstate(all="ignore"):
        has_infinity = bool(np.isinf(np.array(np.inf).astype(DATATYPES[datatype])))
    names = [name for name, value in NON_FINITE.items() if has_infinity or np.isnan(value)]
    return {"anyOf": [{"type": "number", "minimum": -maximum, "maximum": maximum}, _strings(names)]}


def _strings(choices: Sequence[str]) -> Schema:
    return {"type": "string", "enum": list(choices)}


def _max_rounded_to_finite(datatype: str) -> float:
    """Return the largest number that rounds to a finite one of the datatype.

    It is larger than the datatype's own maximum, to which it rounds.
    """
    dtype = DATATYPES[datatype]
    lower = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    upper = lower * 2
    if not np.isfinite(upper):
        return lower
    with np.errstate(over="ignore"):
        while lower < (middle := (lower + upper) / 2) < upper:
            lower, upper = (middle, upper) if np.isfinite(np.array(middle).astype(dtype)) else (lower, middle)
    return lower


def _is_float(datatype: str) -> bool:
    return "FP" in datatype or datatype == "BF16"
