"""Responses of `POST /v2/models/…/infer`: the requested outputs as JSON and binary tensors.

https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md, "Inference"
https://github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from app.errors import InvalidRequest
from app.model.served_model import ServedModel
from app.protocols import class_maps
from app.protocols.binary_tensors import to_bytes
from app.protocols.codec import Encoded
from app.protocols.open_inference_parameters import check_supported, flag, parameters_of
from app.protocols.open_inference_types import output_datatype, unsupported
from app.tensors.datatypes import Array
from app.tensors.io_spec import preview
from app.tensors.to_json import to_json
from model_loader.package import TensorSpec

HEADER_LENGTH = "inference-header-content-length"


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that the request asks for, as JSON or binary.

    Attributes:
        datatype: the protocol's name of it.
        class_map: its spec if it is a map from class to score.
    """

    name: str
    datatype: str
    class_map: TensorSpec | None
    is_binary: bool


def requested_outputs(document: Mapping[str, Any], model: ServedModel) -> Sequence[RequestedOutput]:
    """Return the requested outputs in the request's order; all of the model's outputs if it names none.

    Raises:
        InvalidRequest: an output is unknown, named twice, or of a type that the protocol does not support.
    """
    default = flag(parameters_of(document), "binary_data_output", default=False)
    outputs = document.get("outputs")
    if not outputs:
        return _all_outputs(model, default)
    if not isinstance(outputs, list):
        raise InvalidRequest("expected 'outputs' to be an array")
    requested: dict[str, RequestedOutput] = {}
    for output in outputs:
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in model.outputs:
            raise InvalidRequest(
                f"unknown output {preview(name)}; the model has {', '.join(map(repr, model.outputs))}"
            )
        if name in requested:
            raise InvalidRequest(f"output '{name}' is requested more than once")
        check_supported(output)
        is_binary = flag(parameters_of(output), "binary_data", default=default)
        requested[name] = _requested_output(model, model.outputs[name], is_binary=is_binary)
    return list(requested.values())


# It depends on the model and the flag only, and one model is served.
@lru_cache(maxsize=2)
def _all_outputs(model: ServedModel, is_binary: bool) -> Sequence[RequestedOutput]:
    return [_requested_output(model, spec, is_binary=is_binary) for spec in model.outputs.values()]


def _requested_output(model: ServedModel, spec: TensorSpec, *, is_binary: bool) -> RequestedOutput:
    name = output_datatype(spec)
    if name is None:
        others = [repr(other.name) for other in model.outputs.values() if output_datatype(other)]
        only = f"request only {', '.join(others)} in 'outputs', or " if others else ""
        raise unsupported(spec, f"{only}use /score")
    return RequestedOutput(spec.name, name, spec if class_maps.is_class_map(spec) else None, is_binary)


def encode(
    model: ServedModel,
    requested: Sequence[RequestedOutput],
    id_: str | None,
    outputs: Mapping[str, Any],
    about: Mapping[str, str],
) -> Encoded:
    """Encode the response; see `app.protocols.codec.DecodedRequest`.

    Raises:
        InferenceFailed: a map from class to score has other classes than before.
    """
    arrays = [
        (
            output,
            class_maps.to_tensor(model, output.class_map, outputs[output.name])
            if output.class_map
            else np.asarray(outputs[output.name], order="C"),
        )
        for output in requested
    ]
    parts = [to_bytes(array) for output, array in arrays if output.is_binary]
    about = about if id_ is None else {**about, "id": id_}
    head = _head(arrays, parts, about, finite=True)
    if b"null" in head:  # a number may not be finite: check all of them
        head = _head(arrays, parts, about, finite=False)
    if not parts:
        return {}, head
    own = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return own, b"".join([head, *parts])


def _head(
    arrays: Sequence[tuple[RequestedOutput, Array]],
    parts: Sequence[bytes],
    about: Mapping[str, str],
    *,
    finite: bool,
) -> bytes:
    """Return the JSON of a response; `parts` are the binary outputs in order."""
    tensors: list[dict[str, Any]] = []
    sizes = iter(parts)
    for output, array in arrays:
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": array.shape}
        if output.is_binary:
            tensor["parameters"] = {"binary_data_size": len(next(sizes))}
        else:
            tensor["data"] = to_json(array.reshape(-1), finite=finite)
        tensors.append(tensor)
    return orjson.dumps({**about, "outputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)
