"""JSON Schemas of what a model takes and gives at `POST /score`.

https://json-schema.org/draft/2020-12, as OpenAPI 3.1 has it. What a schema cannot say stands in a
description: that rows have one length where a dimension is free, that a symbol has one size in all inputs.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from app.model.served_model import ServedModel
from app.tensors.datatypes import DATATYPES, INTEGERS, NON_FINITE
from app.tensors.io_spec import describe, single_input
from model_loader.package import TensorSpec

Schema: TypeAlias = dict[str, Any]
Shape: TypeAlias = tuple[int | str | None, ...] | None

# One spelling an integer, so that no two keys of a map are the same one.
INTEGER_KEY = "^(0|-?[1-9][0-9]{0,19})$"


def request(model: ServedModel) -> Schema:
    """The body of a request."""
    forms = [_form("By columns", "inputs", _columns(model.inputs))]
    rows = _instances(model)
    if rows:
        forms.append(_form("By rows", "instances", rows))
    return {"oneOf": forms}


def reply(model: ServedModel) -> Schema:
    """The body of an answer."""
    outputs = {name: _described(spec, _value(spec, taken=False)) for name, spec in model.outputs.items()}
    forms = [_answer("By columns", {"outputs": closed(outputs)}, model)]
    rows = {name: _row(spec.datatype, spec.shape, taken=False) for name, spec in model.outputs.items()}
    if _instances(model):
        predictions = {"type": "array", "items": closed(rows)}
        forms.append(_answer("By rows", {"predictions": predictions}, model))
    return {"oneOf": forms}


def error(model: ServedModel) -> Schema:
    """The body of every error."""
    return _answer(
        "Error", {"error": {"type": "string", "description": "What was expected, what came."}}, model
    )


def components(model: ServedModel) -> dict[str, Schema]:
    """The schemas that the others refer to: of each datatype, alone and in any shape."""
    specs = [*model.inputs.values(), *model.outputs.values()]
    found: dict[str, Schema] = {}
    for datatype in sorted({word for spec in specs for word in re.findall("[A-Z][A-Z0-9]+", spec.datatype)}):
        found[datatype] = _datatype(datatype)
        if _is_float(datatype):
            missing = {"type": "null", "description": "A missing value: NaN."}
            found[name_of(datatype, taken=True)] = {"anyOf": [_ref(datatype), missing]}
    for name in list(found):
        nested = {"type": "array", "items": _ref(f"{name}OfAnyShape")}
        found[f"{name}OfAnyShape"] = {"anyOf": [_ref(name), nested]}
    return found


def closed(properties: Mapping[str, Any], required: Iterable[str] | None = None) -> Schema:
    """An object that has these properties, all of them unless it is said which, and no others."""
    names = list(properties if required is None else required)
    schema: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    # An empty list is none to the older versions of OpenAPI.
    return schema | ({"required": names} if names else {})


def _form(title: str, member: str, schema: Schema) -> Schema:
    passed_over = {"description": "Of TensorFlow Serving's clients; passed over."}
    return {"title": title} | closed({member: schema, "signature_name": passed_over}, [member])


def _answer(title: str, members: Mapping[str, Schema], model: ServedModel) -> Schema:
    about = {
        "id": {"type": "string", "description": "That of the header `x-request-id`."},
        "model_name": {"const": model.name},
        "model_version": {"const": model.version},
    }
    return {"title": title} | closed({**members, **about})


def _columns(inputs: Mapping[str, TensorSpec]) -> Schema:
    """The columnar form: an object of names, or the bare value of the single input."""
    properties = {name: _described(spec, _value(spec, taken=True)) for name, spec in inputs.items()}
    single = single_input(inputs)
    is_map = single is not None and single.datatype.startswith("map(")
    # Bare or by name: of a map, that can only be told by all names being there.
    named = closed(properties, [name for name, spec in inputs.items() if is_map or not spec.optional])
    if single is None:
        return named
    bare = properties[single.name] | (_other_than(inputs) if is_map else {})
    return {"anyOf": [named, bare]}


def _instances(model: ServedModel) -> Schema | None:
    """The row form; None where the model has none."""
    required = [spec for spec in model.inputs.values() if not spec.optional]
    rows = {spec.name: _row(spec.datatype, spec.shape, taken=True) for spec in model.inputs.values()}
    answers = [_row(spec.datatype, spec.shape, taken=False) for spec in model.outputs.values()]
    fixed = {_first_size(spec) for spec in (*required, *model.outputs.values())}
    counts = {size for size in fixed if size is not None}
    features = model.features
    if None in answers or any(rows[spec.name] is None for spec in required) or len(counts) > 1:
        return None
    # An input with a default that has a size of its own can only be given to just as many instances.
    sizes = {name: _first_size(spec) for name, spec in model.inputs.items() if spec.optional}
    named = {name: row for name, row in rows.items() if row is not None}
    free = {name: row for name, row in named.items() if sizes.get(name) is None}
    limits = _exactly(max(counts)) if counts else {"minItems": 0 if single_input(model.inputs) else 1}
    forms = [{"type": "array", "items": item} | limits for item in _items(model, free)]
    for size in {sizes[name] for name in named.keys() - free.keys()} if not features else ():
        sized = {name: row for name, row in named.items() if sizes.get(name) in (None, size)}
        if size is not None and counts <= {size}:
            forms.append({"type": "array", "items": _named(sized, model.inputs)} | _exactly(size))
    return {
        "description": "All instances have the form of the first, and name the same inputs.",
        "anyOf": forms,
    }


def _first_size(spec: TensorSpec) -> int | None:
    """The size of the first dimension, where the model says it."""
    return spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else None


def _exactly(size: int) -> Schema:
    return {"minItems": size, "maxItems": size}


def _items(model: ServedModel, rows: Mapping[str, Schema]) -> list[Schema]:
    """The forms that an instance may have."""
    features = model.features
    single = single_input(model.inputs)
    if single is None or single.name not in rows:
        return [_named(rows, model.inputs)]
    bare = rows[single.name]
    if single.datatype.startswith("seq(map("):
        bare = bare | _other_than([single.name])
    if not features:
        return [_named(rows, model.inputs), bare]
    column = _ref(name_of(single.datatype, taken=True))
    by_column = closed(dict.fromkeys(features, column))
    # An input that has the name of a column gives way to it.
    by_name = [] if single.name in features else [closed({single.name: bare})]
    return [by_column, *by_name, bare]


def _named(rows: Mapping[str, Schema], inputs: Mapping[str, TensorSpec]) -> Schema:
    return closed(rows, [name for name in rows if not inputs[name].optional]) | {"minProperties": 1}


def _other_than(names: Iterable[str]) -> Schema:
    """What an object with just these names is not."""
    names = list(names)
    return {"not": {"type": "object", "required": names, "maxProperties": len(names)}}


def _described(spec: TensorSpec, schema: Schema) -> Schema:
    return {"description": describe(spec)} | schema


def _value(spec: TensorSpec, *, taken: bool) -> Schema:
    return _typed(spec.datatype, spec.shape, taken=taken)


def _typed(datatype: str, shape: Shape, *, taken: bool) -> Schema:
    """A value of a datatype.

    Args:
        taken: whether it is one of a request, where a missing float may be null.
    """
    if datatype in DATATYPES:
        return _tensor(datatype, shape, taken=taken)
    outer, _, inner = datatype.removesuffix(")").partition("(")
    if outer == "optional":
        return {"anyOf": [_typed(inner, shape, taken=taken), {"type": "null"}]}
    if outer == "seq":
        return {"type": "array", "items": _typed(inner, None, taken=taken)}
    key, value = inner.split(", ")
    schema: Schema = {"type": "object", "additionalProperties": _ref(name_of(value, taken=taken))}
    if key == "STRING":
        return schema
    return schema | {"propertyNames": {"pattern": INTEGER_KEY, "description": f"In the range of {key}."}}


def _tensor(datatype: str, shape: Shape, *, taken: bool) -> Schema:
    name = name_of(datatype, taken=taken)
    if shape is None:
        return _ref(f"{name}OfAnyShape")
    schema = _ref(name)
    for size in reversed(shape):
        schema = {"type": "array", "items": schema} | (_exactly(size) if isinstance(size, int) else {})
    return schema


def _row(datatype: str, shape: Shape, *, taken: bool) -> Schema | None:
    """What one instance has of a value; None where that cannot be told."""
    if datatype in DATATYPES:
        return _tensor(datatype, shape and shape[1:], taken=taken)
    outer, _, inner = datatype.removesuffix(")").partition("(")
    if outer == "optional":
        return _row(inner, shape, taken=taken)
    return _typed(inner, None, taken=taken) if outer == "seq" else None


def _datatype(datatype: str) -> Schema:
    """One element of a tensor, as it is answered."""
    if datatype in ("BOOL", "STRING"):
        return {"type": {"BOOL": "boolean", "STRING": "string"}[datatype]}
    if not _is_float(datatype):
        least, most = INTEGERS[datatype]
        return {"type": "integer", "minimum": least, "maximum": most}
    greatest = _greatest(datatype)
    with np.errstate(all="ignore"):
        has_infinity = bool(np.isinf(np.array(np.inf).astype(DATATYPES[datatype])))
    spelled = [name for name, value in NON_FINITE.items() if has_infinity or np.isnan(value)]
    return {"anyOf": [{"type": "number", "minimum": -greatest, "maximum": greatest}, _strings(spelled)]}


def _strings(choices: Sequence[str]) -> Schema:
    return {"type": "string", "enum": list(choices)}


def _greatest(datatype: str) -> float:
    """The greatest number that is rounded to a finite one of the datatype, which is less."""
    dtype = DATATYPES[datatype]
    least = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    most = least * 2
    if not np.isfinite(most):
        return least
    with np.errstate(over="ignore"):
        while least < (middle := (least + most) / 2) < most:
            least, most = (middle, most) if np.isfinite(np.array(middle).astype(dtype)) else (least, middle)
    return least


def _is_float(datatype: str) -> bool:
    return "FP" in datatype or datatype == "BF16"


def name_of(datatype: str, *, taken: bool) -> str:
    return f"{datatype}OrNull" if taken and _is_float(datatype) else datatype


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
