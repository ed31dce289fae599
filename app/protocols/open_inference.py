"""`POST /v2/models/…/infer`: the Open Inference Protocol with JSON and binary tensors.

https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md, "Inference"
https://github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md
"""

from collections.abc import Mapping
from functools import lru_cache, partial
from itertools import chain
from types import NoneType
from typing import Any

from app.errors import InvalidRequest
from app.model.served_model import ServedModel
from app.protocols.binary_tensors import from_bytes
from app.protocols.codec import Body, DecodedRequest
from app.protocols.open_inference_outputs import HEADER_LENGTH, encode, requested_outputs
from app.protocols.open_inference_parameters import check_supported, parameters_of
from app.protocols.open_inference_types import datatype, first_unsupported, unsupported
from app.tensors import fast_json, json_document, tensor_document
from app.tensors.datatypes import DATATYPES, MAX_DIMENSIONS, Array, elements_of
from app.tensors.from_json import from_json
from app.tensors.io_spec import check_names, check_shapes, preview, unknown_input
from app.tensors.tensor_document import NumberText
from model_loader.package import TensorSpec

MEDIA_TYPES: tuple[str, ...] = ("application/json", "application/octet-stream")
_NO_BYTES = memoryview(b"")


def decode(
    body: Body, headers: Mapping[str, str], model: ServedModel, max_json_values: int
) -> DecodedRequest:
    """Decode a request's body; see `app.protocols.codec.Codec`."""
    if spec := _unsupported_input(model):
        raise unsupported(spec, "use /score")
    if len(body) >= fast_json.LARGE_BYTES and HEADER_LENGTH not in headers:
        body = bytes(body) if isinstance(body, memoryview) else body
        if large := tensor_document.loads(body, max_json_values):
            try:
                return _decode(large, _NO_BYTES, model)
            except InvalidRequest:
                pass  # decoded again below: the error then names the value as it was sent
    return _decode(*_split(body, headers, max_json_values), model)


def _decode(document: Mapping[str, Any], binary: memoryview, model: ServedModel) -> DecodedRequest:
    check_supported(document)
    inputs = _inputs(document, binary, model)
    check_names(inputs.keys(), model.inputs)
    check_shapes(inputs, model.inputs)
    id_ = document.get("id")
    if id_ is not None and not isinstance(id_, str):
        raise InvalidRequest(f"expected 'id' to be a string, got {preview(id_)}")
    return DecodedRequest(inputs, partial(encode, model, requested_outputs(document, model), id_))


# It depends on the model only, and one model is served.
@lru_cache(maxsize=1)
def _unsupported_input(model: ServedModel) -> TensorSpec | None:
    return first_unsupported(model.inputs.values())


def _split(
    body: Body, headers: Mapping[str, str], max_json_values: int
) -> tuple[Mapping[str, Any], memoryview]:
    """Split the body into the JSON document and the binary data after it."""
    length = headers.get(HEADER_LENGTH)
    if length is None:
        document, binary = json_document.loads(body, max_json_values), _NO_BYTES
    else:
        if not length.isdecimal() or len(length) > len(str(len(body))) or int(length) > len(body):
            raise InvalidRequest(f"expected {HEADER_LENGTH} from 0 to {len(body)}, got {preview(length)}")
        if int(length) == 0:
            raise InvalidRequest(f"{HEADER_LENGTH} is 0: raw binary requests are not supported; add the JSON")
        head, binary = memoryview(body)[: int(length)], memoryview(body)[int(length) :]
        document = json_document.loads(head, max_json_values)
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list):
        raise InvalidRequest("expected a JSON object with 'inputs', an array")
    return document, binary


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
            raise unknown_input(name, model.inputs)
        shape = _shape(tensor, spec)
        size = parameters_of(tensor).get("binary_data_size")
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
    expected, given = datatype(spec), tensor.get("datatype")
    if expected is None:
        raise unsupported(spec, "omit it, or use /score")
    if given != expected:
        raise InvalidRequest(f"input '{spec.name}': expected datatype {expected}, got {preview(given)}")
    shape = tensor.get("shape")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or not {*map(type, shape)} <= {int}
        or elements_of(shape) is None
    ):
        raise InvalidRequest(f"input '{spec.name}': expected 'shape' to be an array of sizes")
    return tuple(shape)


def _from_data(tensor: Mapping[str, Any], spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Return the tensor in `data`, which is flat or nested like `shape`."""
    if "data" not in tensor:
        raise InvalidRequest(f"input '{spec.name}': expected 'data' or binary_data_size")
    data = tensor["data"]
    count = elements_of(shape) or 0
    # Before an array is made of it: flat data have the shape's elements, nested data its first dimension.
    if isinstance(data, list) and len(data) not in (count, *shape[:1]):
        raise _wrong_size(spec, shape, f"{len(data)} elements")
    array: Array
    if isinstance(data, NumberText):
        array = data.parse(DATATYPES[spec.datatype], count)
    else:
        array = from_json(data, spec, all_numeric=_is_all_numeric(data))
    if array.shape == shape:
        return array
    if array.ndim > 1:
        raise _wrong_size(spec, shape, f"nested data of shape {list(array.shape)}")
    if array.size != count:
        raise _wrong_size(spec, shape, f"{array.size} elements")
    return array.reshape(shape)


def _wrong_size(spec: TensorSpec, shape: tuple[int, ...], found: str) -> InvalidRequest:
    count = elements_of(shape) or 0
    return InvalidRequest(
        f"input '{spec.name}': expected {count} elements for shape {list(shape)}, got {found}"
    )


def _is_all_numeric(data: Any) -> bool:
    """Return whether data, flat or nested once, certainly contain neither booleans nor strings."""
    if not isinstance(data, list):
        return False
    types = {*map(type, data)}
    if types == {list}:
        types = {*map(type, chain.from_iterable(data))}
    return types <= {int, float, NoneType}
