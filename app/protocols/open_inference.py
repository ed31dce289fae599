"""`POST /v2/models/…/infer`: the Open Inference Protocol with JSON and binary tensors.

https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md, "Inference"
https://github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import orjson

from app.errors import InvalidRequest
from app.model.served_model import ServedModel
from app.protocols.codec import Body, DecodedRequest, Encoded
from app.tensors.datatypes import DATATYPES, Array, elements_of
from app.tensors.from_json import from_json
from app.tensors.io_spec import check_names, check_shapes, preview
from app.tensors.to_json import to_json
from model_loader.package import TensorSpec

MEDIA_TYPES: tuple[str, ...] = ("application/json", "application/octet-stream")
HEADER_LENGTH = "inference-header-content-length"
EXTENSIONS = ("binary_tensor_data",)

# Bytes, as NumPy aligns its own arrays. Kernels may round differently on data with another alignment, so the
# outputs would depend on the length of the JSON before the data.
ALIGNMENT = 16

# Our datatype → the protocol's; the protocol does not support the others.
NAMES = {
    name: name
    for name in DATATYPES
    if name in ("BOOL", "FP16", "BF16", "FP32", "FP64") or name[-2:] in ("T8", "16", "32", "64")
} | {"STRING": "BYTES"}


@dataclass(frozen=True, slots=True)
class _RequestedOutput:
    """An output that the request asks for, as JSON or binary."""

    name: str
    is_binary: bool


def datatype(spec: TensorSpec) -> str | None:
    """Return the protocol's name of a tensor's datatype; None if the protocol does not support it."""
    return NAMES.get(spec.datatype)


def decode(body: Body, headers: Mapping[str, str], model: ServedModel) -> DecodedRequest:
    """Decode a request's body; see `app.protocols.codec.Codec`."""
    for spec in (*model.inputs.values(), *model.outputs.values()):
        if not datatype(spec):
            raise InvalidRequest(
                f"'{spec.name}' is {spec.datatype}, which this protocol does not support: use /score"
            )
    document, binary = _split(body, headers)
    inputs = _inputs(document, binary, model)
    check_names(inputs.keys(), model.inputs)
    check_shapes(inputs, model.inputs)
    id_ = document.get("id")
    if id_ is not None and not isinstance(id_, str):
        raise InvalidRequest(f"expected 'id' to be a string, got {preview(id_)}")
    return DecodedRequest(inputs, partial(_encode, model, _requested_outputs(document, model), id_))


def _split(body: Body, headers: Mapping[str, str]) -> tuple[Mapping[str, Any], memoryview]:
    """Split the body into the JSON document and the binary data after it."""
    length = headers.get(HEADER_LENGTH)
    size = len(body)
    if length is not None:
        if not length.isdecimal() or len(length) > len(str(size)) or int(length) > size:
            raise InvalidRequest(f"expected {HEADER_LENGTH} from 0 to {size}, got {preview(length)}")
        size = int(length)
    try:
        document = orjson.loads(memoryview(body)[:size])
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"the body is not JSON: {exc}") from exc
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list):
        raise InvalidRequest("expected a JSON object with 'inputs', an array")
    return document, memoryview(body)[size:]


def _inputs(document: Mapping[str, Any], binary: memoryview, model: ServedModel) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    begin = 0
    for tensor in document["inputs"]:
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str):
            raise InvalidRequest("expected every input to be an object with a 'name'")
        if name in inputs:
            raise InvalidRequest(f"input {preview(name)} is given more than once")
        spec = model.inputs.get(name)
        if spec is None:
            raise InvalidRequest(
                f"unknown input {preview(name)}; the model has {', '.join(map(repr, model.inputs))}"
            )
        shape = _shape(tensor, spec)
        size = _parameters(tensor).get("binary_data_size")
        if size is None:
            inputs[name] = _from_data(tensor, spec, shape)
        else:
            if type(size) is not int or not 0 <= size <= len(binary) - begin:
                raise InvalidRequest(
                    f"input '{name}': expected binary_data_size from 0 to {len(binary) - begin}, the bytes "
                    f"remaining, got {preview(size)}"
                )
            if "data" in tensor:
                raise InvalidRequest(
                    f"input '{name}' has both 'data' and binary_data_size; expected one of them"
                )
            inputs[name] = from_bytes(binary[begin : begin + size], spec, shape)
            begin += size
    if begin != len(binary):
        raise InvalidRequest(
            f"{len(binary) - begin} bytes at the end do not belong to any input's binary_data_size"
        )
    return inputs


def _shape(tensor: Mapping[str, Any], spec: TensorSpec) -> tuple[int, ...]:
    given = tensor.get("datatype")
    if given != datatype(spec):
        raise InvalidRequest(f"input '{spec.name}': expected datatype {datatype(spec)}, got {preview(given)}")
    shape = tensor.get("shape")
    if (
        not isinstance(shape, list)
        or not all(type(size) is int for size in shape)
        or elements_of(shape) is None
    ):
        raise InvalidRequest(f"input '{spec.name}': expected 'shape' to be an array of sizes")
    return tuple(shape)


def _parameters(document: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = document.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise InvalidRequest(f"expected 'parameters' to be an object, got {preview(parameters)}")
    return parameters or {}


def _from_data(tensor: Mapping[str, Any], spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Return the tensor in `data`, which is flat or nested like `shape`."""
    if "data" not in tensor:
        raise InvalidRequest(f"input '{spec.name}': expected 'data' or binary_data_size")
    array: Array = from_json(tensor["data"], spec)
    if array.shape == shape:
        return array
    count = elements_of(shape) or 0
    if array.ndim > 1 or array.size != count:
        found = f"{array.size} elements" if array.ndim < 2 else f"nested data of shape {list(array.shape)}"
        raise InvalidRequest(
            f"input '{spec.name}': expected {count} elements for shape {list(shape)}, got {found}"
        )
    return array.reshape(shape)


def from_bytes(data: memoryview, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Return the tensor in its bytes, which are little-endian in C order.

    Aligned bytes are not copied, except for strings.

    Raises:
        InvalidRequest: the number of bytes does not fit the shape, or a boolean is neither 0 nor 1.
    """
    count = elements_of(shape) or 0
    if spec.datatype == "STRING":
        return np.array(_strings(data, spec, count), object).reshape(shape)
    dtype = DATATYPES[spec.datatype]
    if len(data) != count * dtype.itemsize:
        raise InvalidRequest(
            f"input '{spec.name}': expected {count * dtype.itemsize} bytes for shape {list(shape)}, "
            f"got {len(data)}"
        )
    array: Array = np.frombuffer(data, np.uint8 if spec.datatype == "BOOL" else dtype)
    if array.ctypes.data % ALIGNMENT:
        array = array.copy()
    if spec.datatype == "BOOL":
        if (array > 1).any():
            raise InvalidRequest(f"input '{spec.name}': expected booleans of 0 or 1, got {array.max()}")
        array = array.view(np.bool_)
    return array.reshape(shape)


def _strings(data: memoryview, spec: TensorSpec, count: int) -> list[str]:
    """Return the elements, each of which follows its length in four bytes."""
    elements: list[str] = []
    begin = 0
    while begin < len(data):
        end = begin + 4
        if end <= len(data):
            begin, end = end, end + struct.unpack_from("<I", data, begin)[0]
        if end > len(data):
            raise InvalidRequest(f"input '{spec.name}': element {len(elements)} extends beyond the data")
        try:
            elements.append(str(data[begin:end], "utf-8"))
        except UnicodeDecodeError as exc:
            raise InvalidRequest(f"input '{spec.name}': element {len(elements)} is not UTF-8") from exc
        begin = end
    if len(elements) != count:
        raise InvalidRequest(f"input '{spec.name}': expected {count} elements, got {len(elements)}")
    return elements


def _requested_outputs(document: Mapping[str, Any], model: ServedModel) -> list[_RequestedOutput]:
    """Return the requested outputs in the request's order; all of the model's outputs if it names none."""
    default = _flag(_parameters(document), "binary_data_output", default=False)
    outputs = document.get("outputs") or [{"name": name} for name in model.outputs]
    if not isinstance(outputs, list):
        raise InvalidRequest("expected 'outputs' to be an array")
    requested: list[_RequestedOutput] = []
    for output in outputs:
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in model.outputs:
            raise InvalidRequest(
                f"unknown output {preview(name)}; the model has {', '.join(map(repr, model.outputs))}"
            )
        requested.append(_RequestedOutput(name, _flag(_parameters(output), "binary_data", default=default)))
    return requested


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"expected parameter '{name}' to be true or false, got {preview(value)}")
    return value


def _encode(
    model: ServedModel,
    requested: Sequence[_RequestedOutput],
    id_: str | None,
    outputs: Mapping[str, Any],
    about: Mapping[str, str],
) -> Encoded:
    """Encode the response; see `app.protocols.codec.DecodedRequest`."""
    tensors, parts = [], []
    for output in requested:
        array = np.asarray(outputs[output.name], order="C")
        tensor: dict[str, Any] = {
            "name": output.name,
            "datatype": NAMES[model.outputs[output.name].datatype],
            "shape": array.shape,
        }
        if output.is_binary:
            data = to_bytes(array)
            tensor["parameters"] = {"binary_data_size": len(data)}
            parts.append(data)
        else:
            tensor["data"] = to_json(array.reshape(-1))
        tensors.append(tensor)
    response = {**about, "id": about["id"] if id_ is None else id_, "outputs": tensors}
    head = orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)
    if not parts:
        return {}, head
    own = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return own, b"".join([head, *parts])


def to_bytes(array: Array) -> bytes:
    """Return a tensor's elements as bytes; the reverse of `from_bytes`."""
    if array.dtype.kind not in "OUS":
        return array.tobytes()
    encoded = [str(element).encode() for element in array.ravel()]
    return b"".join(part for data in encoded for part in (struct.pack("<I", len(data)), data))
