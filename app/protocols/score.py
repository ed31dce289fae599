"""`POST /score`: JSON as TensorFlow Serving's and pandas' users write it, CSV, and arrays in NumPy's format.

https://www.tensorflow.org/tfx/serving/api_rest, "Predict API": `inputs` is the columnar form, `instances` the
row form. Unlike TensorFlow Serving's, a response to `instances` names the output even if there is only one.
DataFrames are in `app.protocols.data_frame`; their response is that of the row form.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from app.errors import InvalidRequest
from app.model.served_model import ServedModel
from app.protocols import csv_table, data_frame, npy, table
from app.protocols.codec import Body, DecodedRequest, Encoded
from app.protocols.predictions import ReplyForm, encode
from app.tensors import fast_json, json_document, tensor_document
from app.tensors.datatypes import DATATYPES
from app.tensors.from_json import inputs_from_json
from app.tensors.io_spec import check_shapes, preview, single_input
from model_loader.package import TensorSpec

JSON = "application/json"
MEDIA_TYPES: tuple[str, ...] = (JSON, csv_table.MEDIA_TYPE, npy.MEDIA_TYPE)

REPLY = ReplyForm()
# A request has one of these.
TENSOR_FORMS = ("inputs", "instances")
FORMS = (*TENSOR_FORMS, "dataframe_split", "dataframe_records", "input_data")
# TensorFlow Serving's clients may send the signature's name; this is the only signature that there is.
SIGNATURE = "serving_default"


def decode(
    body: Body, headers: Mapping[str, str], model: ServedModel, max_json_values: int
) -> DecodedRequest:
    """Decode a request's body; see `app.protocols.codec.Codec`."""
    return decode_as(REPLY, FORMS, body, headers, model, max_json_values)


def decode_as(
    reply: ReplyForm,
    forms: Sequence[str],
    body: Body,
    headers: Mapping[str, str],
    model: ServedModel,
    max_json_values: int,
) -> DecodedRequest:
    """Decode a request's body; see `app.protocols.codec.Codec`.

    Args:
        reply: how the response is written.
        forms: the members of which a JSON body may have one.
    """
    inputs: Mapping[str, Any]
    content_type = headers.get("content-type", JSON)
    media_type = JSON if content_type == JSON else content_type.partition(";")[0].strip().lower()
    rows = None
    if media_type == npy.MEDIA_TYPE:
        spec = single_input(model.inputs)
        if spec is None:
            raise InvalidRequest(f"{npy.MEDIA_TYPE} requires a model with one input: use JSON instead")
        inputs = {spec.name: npy.read(body, spec)}
        check_shapes(inputs, model.inputs)
    elif media_type == csv_table.MEDIA_TYPE:
        inputs, rows = csv_table.read(body, content_type, model.inputs, model.features, max_json_values)
    else:
        text = bytes(body) if isinstance(body, memoryview) else body
        inputs, rows = decode_json(text, model.inputs, model.features, max_json_values, forms)
    accepts_npy = npy.MEDIA_TYPE in headers.get("accept", "")
    return DecodedRequest(inputs, _encode_npy if accepts_npy else partial(encode, reply, rows))


def decode_json(
    body: bytes | bytearray,
    specs: Mapping[str, TensorSpec],
    features: Sequence[str] | None,
    max_values: int,
    forms: Sequence[str] = FORMS,
) -> tuple[Mapping[str, Any], int | None]:
    """Decode a JSON body.

    Args:
        body: JSON in UTF-8.
        specs: the model's inputs.
        features: column names of the single two-dimensional input, if the model has them.
        max_values: see `app.tensors.json_document`; arrays that `app.tensors.fast_json` reads may have more.
        forms: the members of which the body may have one.

    Returns:
        the inputs, and the number of instances; None if the request is columnar.

    Raises:
        InvalidRequest: the body is not JSON, not a request, or does not fit the inputs.
        BodyTooLarge: the body has too many values.
    """
    if not body:
        raise InvalidRequest(f"the body is empty; expected {_one_of(forms)}")
    if len(body) >= fast_json.LARGE_BYTES and (document := _load_large(body, specs, max_values)):
        try:
            return _inputs(*_form(document, forms), specs, features, all_numeric=True)
        except InvalidRequest:
            pass  # decoded again below: the error then names the value as it was sent
    document = json_document.loads(body, max_values)
    form, data = _form(document, forms)
    return _inputs(form, data, specs, features, all_numeric=_is_all_numeric(body, form, data))


def decode_rows(
    rows: Sequence[Any], specs: Mapping[str, TensorSpec], features: Sequence[str] | None
) -> Mapping[str, Any]:
    """Decode rows that are parsed already, as `decode` decodes a request of them.

    Args:
        rows: an object of columns each, as in `dataframe_records`, or what `instances` has.

    Raises:
        InvalidRequest: they do not fit the inputs.
    """
    single = single_input(specs)
    is_map = single is not None and "map(" in single.datatype
    is_table = not is_map and all(type(row) is dict for row in rows)
    form = "dataframe_records" if is_table else "instances"
    return _inputs(form, rows, specs, features, all_numeric=False)[0]


def _load_large(
    body: bytes | bytearray, specs: Mapping[str, TensorSpec], max_values: int
) -> dict[str, Any] | None:
    """Return the document; None if `app.tensors.fast_json` does not support it."""
    dtypes = {name: DATATYPES[spec.datatype] for name, spec in specs.items() if spec.datatype in DATATYPES}
    single = single_input(specs)
    return fast_json.loads(body, dtypes, single.name if single else None) or tensor_document.loads_table(
        body, max_values
    )


def _form(document: Any, forms: Sequence[str]) -> tuple[str, Any]:
    """Return the member of `forms` that the document has, and its value.

    Raises:
        InvalidRequest: it has none or several of them, or others.
    """
    if type(document) is dict and len(document) == 1:  # nearly all requests
        ((form, data),) = document.items()
        if form in forms:
            return form, data
    if type(document) is list and document and type(document[0]) is dict and "dataframe_records" in forms:
        return "dataframe_records", document
    if type(document) is not dict:
        raise InvalidRequest(f"expected {_one_of(forms)}, got {preview(document)}")
    if data_frame.is_split(document) and "dataframe_split" in forms:
        return "dataframe_split", document
    given = [form for form in forms if form in document]
    if len(given) != 1:
        got = " and ".join(map(preview, given or [*document][:1])) or "none"
        raise InvalidRequest(f"expected {_one_of(forms)}, got {got}")
    (form,) = given
    unknown = document.keys() - {form, "signature_name"}
    if unknown:
        raise InvalidRequest(f"unknown member {preview(min(unknown))} beside '{form}'")
    if (signature := document.get("signature_name", SIGNATURE)) != SIGNATURE:
        raise InvalidRequest(f"expected 'signature_name' to be '{SIGNATURE}', got {preview(signature)}")
    return form, document[form]


def _one_of(forms: Sequence[str]) -> str:
    return f"a JSON object with one of {', '.join(map(repr, forms))}"


def _inputs(
    form: str,
    data: Any,
    specs: Mapping[str, TensorSpec],
    features: Sequence[str] | None,
    *,
    all_numeric: bool,
) -> tuple[Mapping[str, Any], int | None]:
    rows: int | None = None
    if form == "inputs":
        values = _columns(data, specs)
    elif form == "instances":
        values, rows = _rows(data, specs, features), len(data)
    elif form == "dataframe_records":
        values, rows = data_frame.from_records(data, specs, features)
    elif form == "input_data" and isinstance(data, list):
        values, rows = _rows(data, specs, features), len(data)
    else:
        values, rows = data_frame.from_split(form, data, specs, features)
    return inputs_from_json(values, specs, all_numeric=all_numeric, is_rows=rows is not None), rows


def _is_all_numeric(body: bytes | bytearray, form: str, data: Any) -> bool:
    """Return whether a document certainly has no booleans, and no strings except names.

    Counting quotes in the bytes is faster than visiting the values. The names in a DataFrame are not counted.
    """
    if form not in TENSOR_FORMS:
        return False
    names = 1
    if isinstance(data, dict):
        names += len(data)
    elif data and isinstance(data, list) and isinstance(data[0], dict):
        names += len(data) * len(data[0])
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
        return {single.name: table.pick(instances, features, "instance", "column")}
    columns = zip(*table.pick(instances, tuple(first), "instance", "input"), strict=True)
    names = table.input_names(tuple(first), specs)
    return {name: list(column) for name, column in zip(names, columns, strict=True)}


def _encode_npy(outputs: Mapping[str, Any], _about: Mapping[str, str]) -> Encoded:
    match list(outputs.values()):
        case [np.ndarray() as array]:
            return {"content-type": npy.MEDIA_TYPE}, npy.write(array)
    raise InvalidRequest(f"{npy.MEDIA_TYPE} requires a model with one tensor output: accept JSON instead")
