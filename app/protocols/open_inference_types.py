"""Datatypes and shapes as the Open Inference Protocol names them.

https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md,
"Tensor Data Types"
"""

from collections.abc import Collection

from app.errors import InvalidRequest
from app.model.served_model import ServedModel
from app.protocols.class_maps import is_class_map, known_classes
from app.tensors.datatypes import DATATYPES
from model_loader.package import TensorSpec

# Our datatype → the protocol's; the protocol does not support the others.
NAMES = {
    name: name
    for name in DATATYPES
    if name in ("BOOL", "FP16", "BF16", "FP32", "FP64") or name[-2:] in ("T8", "16", "32", "64")
} | {"STRING": "BYTES"}


def datatype(spec: TensorSpec) -> str | None:
    """Return the protocol's name of an input's datatype; None if the protocol does not support it."""
    return NAMES.get(spec.datatype)


def output_datatype(spec: TensorSpec) -> str | None:
    """Return the protocol's name of an output's datatype; None if the protocol does not support it."""
    return "FP32" if is_class_map(spec) else datatype(spec)


def output_shape(model: ServedModel, spec: TensorSpec) -> tuple[int | str | None, ...]:
    """Return the shape of an output; that of a map from class to score has a column for each class."""
    if not is_class_map(spec):
        return spec.shape or ()
    return None, len(known_classes(model).get(spec.name, ())) or None


def unsupported(spec: TensorSpec, advice: str) -> InvalidRequest:
    """Return the error for an input or output whose datatype the protocol does not support."""
    return InvalidRequest(f"'{spec.name}' is {spec.datatype}, which this protocol does not support: {advice}")


def is_supported(model: ServedModel) -> bool:
    """Return whether the protocol has the types of all required inputs, and of at least one output."""
    return not first_unsupported(model.inputs.values()) and any(map(output_datatype, model.outputs.values()))


def first_unsupported(inputs: Collection[TensorSpec]) -> TensorSpec | None:
    """Return the first input that a request needs and whose datatype the protocol does not support."""
    only = not any(map(datatype, inputs))
    return next((spec for spec in inputs if not datatype(spec) and (only or not spec.optional)), None)
