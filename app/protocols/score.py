"""`POST /score`: JSON in the form of TensorFlow Serving's predict API, and arrays in NumPy's format.

https://www.tensorflow.org/tfx/serving/api_rest, "Predict API": `inputs` is the columnar form, `instances` the
row form. Unlike TensorFlow Serving's, a response to `instances` names the output even if there is only one.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from app.errors import InvalidRequest
from app.model.served_model import ServedModel
from app.protocols import npy
from app.protocols.codec import Body, DecodedRequest, Encoded
from app.tensors import fast_json, json_document
from app.tensors.datatypes import DATATYPES
from app.tensors.from_json import inputs_from_json
from app.tensors.io_spec import check_shapes, preview, single_input
from app.tensors.to_json import SLICE_ELEMENTS, append_json, is_larger, to_json
from model_loader.package import TensorSpec

MEDIA_TYPES: tuple[str, ...] = ("application/json", npy.MEDIA_TYPE)

# A request has one of the first two. TensorFlow Serving's clients may also send the third, which is ignored.
_MEMBERS = {"inputs", "instances", "signature_name"}


# Of a large response in the row form; each row takes half a kilobyte of Python objects.
SLICE_ROWS = 4096


def decode(
    body: Body, headers: Mapping[str, str], model: ServedModel, max_json_values: int
) -> DecodedRequest:
    """Decode a request's body; see `app.protocols.codec.Codec`."""
    accepts_npy = npy.MEDIA_TYPE in headers.get("accept", "")
    if headers.get("content-type", "").startswith(npy.MEDIA_TYPE):
        spec = single_input(model.inputs)
        if spec is None:
            raise InvalidRequest(f"{npy.MEDIA_TYPE} requires a model with one input: use JSON or /v2 instead")
        inputs: Mapping[str, Any] = {spec.name: npy.read(body, spec)}
        check_shapes(inputs, model.inputs)
        return DecodedRequest(inputs, _encode_npy if accepts_npy else partial(encode, None))
    text = bytes(body) if isinstance(body, memoryview) else body
    inputs, rows = decode_json(text, model.inputs, model.features, max_json_values)
    return DecodedRequest(inputs, _encode_npy if accepts_npy else partial(encode, rows))


def decode_json(
    body: bytes | bytearray,
    specs: Mapping[str, TensorSpec],
    features: Sequence[str] | None,
    max_values: int,
) -> tuple[Mapping[str, Any], int | None]:
    """Decode a JSON body.

    Args:
        body: JSON in UTF-8.
        specs: the model's inputs.
        features: column names of the single two-dimensional input, if the model has them.
        max_values: see `app.tensors.json_document`; arrays that `app.tensors.fast_json` reads may have more.

    Returns:
        the inputs, and the number of instances; None if the request is columnar.

    Raises:
        InvalidRequest: the body is not JSON, not a request, or does not fit the inputs.
        BodyTooLarge: the body has too many values.
    """
    if not body:
        raise InvalidRequest("the body is empty; expected a JSON object with 'inputs' or 'instances'")
    if len(body) >= fast_json.LARGE_BYTES and (document := _load_large(body, specs)):
        try:
            return _inputs(document, specs, features, all_numeric=True)
        except InvalidRequest:
            pass  # decoded again below: the error then names the value as it was sent
    document = json_document.loads(body, max_values)
    if not isinstance(document, dict) or ("inputs" in document) == ("instances" in document):
        raise InvalidRequest("expected a JSON object with either 'inputs' or 'instances'")
    unknown = document.keys() - _MEMBERS
    if unknown:
        raise InvalidRequest(f"unknown member {preview(min(unknown))}; expected 'inputs' or 'instances'")
    return _inputs(document, specs, features, all_numeric=_is_all_numeric(body, document))


def _load_large(body: bytes | bytearray, specs: Mapping[str, TensorSpec]) -> dict[str, Any] | None:
    """Return the document; None if `app.tensors.fast_json` does not support it."""
    dtypes = {name: DATATYPES[spec.datatype] for name, spec in specs.items() if spec.datatype in DATATYPES}
    single = single_input(specs)
    return fast_json.loads(body, dtypes, single.name if single else None)


def _inputs(
    document: Mapping[str, Any],
    specs: Mapping[str, TensorSpec],
    features: Sequence[str] | None,
    *,
    all_numeric: bool,
) -> tuple[Mapping[str, Any], int | None]:
    if "inputs" in document:
        values, rows = _columns(document["inputs"], specs), None
    else:
        values, rows = _rows(document["instances"], specs, features), len(document["instances"])
    return inputs_from_json(values, specs, all_numeric=all_numeric), rows


def _is_all_numeric(body: bytes | bytearray, document: Mapping[str, Any]) -> bool:
    """Return whether the document certainly has no booleans, and no strings except names.

    Counting quotes in the bytes is faster than visiting the values.
    """
    ((_, content),) = document.items() if len(document) == 1 else (("", None),)
    names = 1
    if isinstance(content, dict):
        names += len(content)
    elif content and isinstance(content, list) and isinstance(content[0], dict):
        names += len(content) * len(content[0])
    return body.count(b'"') == 2 * names and b"true" not in body and b"false" not in body


def _columns(inputs: Any, specs: Mapping[str, TensorSpec]) -> dict[str, Any]:
    single = single_input(specs)
    is_map = single is not None and single.datatype.startswith("map(")
    if isinstance(inputs, dict) and not (is_map and inputs.keys() != specs.keys()):
        return inputs
    if single is None:
        raise InvalidRequest(f"expected 'inputs' to be an object of {', '.join(map(repr, specs))}")
    return {single.name: inputs}


def _rows(instances: Any, specs: Mapping[str, TensorSpec], features: Sequence[str] | None) -> dict[str, Any]:
    """Return the instances as columns: input → its values, one per instance."""
    if type(instances) is not list and not isinstance(instances, np.ndarray):
        raise InvalidRequest("expected 'instances' to be an array")
    single = single_input(specs)
    first = instances[0] if len(instances) else None
    if not isinstance(first, dict) or (
        single and single.datatype.startswith("seq(map(") and first.keys() != {single.name}
    ):
        if single is None:
            raise InvalidRequest(f"expected each instance to be an object of {', '.join(map(repr, specs))}")
        return {single.name: instances}
    if single and features and (first.keys() != {single.name} or single.name in features):
        return {single.name: _pick(instances, features, "column")}
    columns = zip(*_pick(instances, tuple(first), "input"), strict=True)
    return {name: list(column) for name, column in zip(first, columns, strict=True)}


def _pick(instances: Any, names: Sequence[str], kind: str) -> list[Any]:
    """Return a tuple of the values of `names` for each instance.

    Raises:
        InvalidRequest: an instance does not have exactly these names.
    """
    try:
        get = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
        if all(len(row) == len(names) for row in instances):
            return [get(row) for row in instances]
    except (IndexError, KeyError, TypeError):
        pass  # the first invalid instance is named below
    for index, row in enumerate(instances):
        if not isinstance(row, dict):
            raise InvalidRequest(f"instance {index}: expected an object of {kind}s")
        for name in names:
            if name not in row:
                raise InvalidRequest(f"instance {index}: missing {kind} {preview(name)}")
        for name in row:
            if name not in names:
                raise InvalidRequest(f"instance {index}: unknown {kind} {preview(name)}")
    raise InvalidRequest(f"expected every instance to be an object of {kind}s")


def encode(rows: int | None, outputs: Mapping[str, Any], about: Mapping[str, str]) -> Encoded:
    """Encode the response; see `app.protocols.codec.DecodedRequest`.

    Args:
        rows: number of instances; None if the request was columnar.

    Raises:
        InvalidRequest: an output does not have one element per instance, so it cannot be split into rows.
    """
    response = _response(rows, outputs, about, finite=True)
    if b"null" in response:  # a number may not be finite: check all of them
        del response
        response = _response(rows, outputs, about, finite=False)
    return {}, response


def _response(
    rows: int | None, outputs: Mapping[str, Any], about: Mapping[str, str], *, finite: bool
) -> bytes | bytearray:
    if is_larger(outputs.values(), SLICE_ELEMENTS):
        return _large_response(rows, outputs, about, finite=finite)
    response: dict[str, Any]
    if rows is None:
        values = {name: to_json(value, finite=finite) for name, value in outputs.items()}
        response = {"outputs": values, **about}
    else:
        response = {"predictions": _predictions(rows, outputs, finite=finite), **about}
    return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)


def _large_response(
    rows: int | None, outputs: Mapping[str, Any], about: Mapping[str, str], *, finite: bool
) -> bytearray:
    """Return the same as `_response`, written in slices to bound the memory for Python objects."""
    if rows is None:
        text = bytearray(b'{"outputs":{')
        for name, value in outputs.items():
            text += orjson.dumps(name) + b":"
            append_json(text, value, finite=finite)
            text += b","
        text[-1:] = b"},"
    else:
        text = bytearray(b'{"predictions":[')
        _check_rows(rows, outputs)
        for begin in range(0, rows, SLICE_ROWS):
            end = min(rows, begin + SLICE_ROWS)
            part = {name: value[begin:end] for name, value in outputs.items()}
            predictions = _predictions(end - begin, part, finite=finite)
            text += orjson.dumps(predictions, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] + b","
        text[-1:] = b"],"
    text += orjson.dumps(about)[1:]
    return text


def _predictions(rows: int, outputs: Mapping[str, Any], *, finite: bool) -> list[dict[str, Any]]:
    """Return the outputs as one object for each instance."""
    _check_rows(rows, outputs)
    columns = [_per_instance(to_json(value, finite=finite)) for value in outputs.values()]
    return [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]


def _check_rows(rows: int, outputs: Mapping[str, Any]) -> None:
    for name, value in outputs.items():
        has_rows = value.ndim > 0 if isinstance(value, np.ndarray) else isinstance(value, list)
        if not has_rows or len(value) != rows:
            raise InvalidRequest(
                f"output '{name}' does not have one element per instance: use 'inputs' instead"
            )


def _per_instance(value: Any) -> list[Any]:
    """Return an output as a list with one element per instance."""
    # Floats remain NumPy scalars: as Python's, a 32-bit float would be written with the digits of a double.
    return value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind != "f" else list(value)


def _encode_npy(outputs: Mapping[str, Any], _about: Mapping[str, str]) -> Encoded:
    match list(outputs.values()):
        case [np.ndarray() as array]:
            return {"content-type": npy.MEDIA_TYPE}, npy.write(array)
    raise InvalidRequest(f"{npy.MEDIA_TYPE} requires a model with one tensor output: accept JSON instead")
