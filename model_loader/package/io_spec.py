"""IO specs: names, datatypes and shapes of a model's inputs and outputs, read from its graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from model_loader.errors import PackageError
from model_loader.package.manifest_fields import MANIFEST_FILE

# ONNX Runtime's name of a tensor type → the Open Inference Protocol's name, as in `TensorSpec.datatype`.
ORT_TYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float": "FP32",
    "double": "FP64",
    "string": "STRING",
    "uint4": "UINT4",
    "int4": "INT4",
    "float8e4m3fn": "FP8E4M3FN",
    "float8e4m3fnuz": "FP8E4M3FNUZ",
    "float8e5m2": "FP8E5M2",
    "float8e5m2fnuz": "FP8E5M2FNUZ",
}


# Converters write these as the name of a dimension whose size they do not know.
UNKNOWN_NAMES = ("?", "")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: as in the ONNX graph.
        datatype: `FP32` and so on for a tensor; `seq(FP32)`, `map(INT64, FP32)`, `optional(FP32)` otherwise.
        shape: each dimension is a number, a symbol or None (any size). None if the shape is unknown or a
            scalar's: ONNX Runtime does not distinguish the two.
        optional: whether a request can omit it, because the model has a default.
    """

    name: str
    datatype: str
    shape: tuple[int | str | None, ...] | None
    optional: bool = False

    @property
    def is_initializer(self) -> bool:
        """Whether this input is a weight of the model, which the graph lists as an input with a default."""
        return self.optional and not self.datatype.startswith("optional(")

    def to_json(self) -> dict[str, Any]:
        """Return the specification as in `manifest.json`."""
        spec: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": self.shape}
        return spec | {"optional": True} if self.optional else spec


class _Node(Protocol):
    name: str
    type: str
    shape: list[int | str | None]


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that describes a model's inputs and outputs."""

    def get_inputs(self) -> list[_Node]: ...
    def get_outputs(self) -> list[_Node]: ...
    def get_overridable_initializers(self) -> list[_Node]: ...


@dataclass(frozen=True)
class ModelIO:
    """The inputs and outputs of a model, in the order of its graph."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def read_model_io(session: Session) -> ModelIO:
    """Return the inputs and outputs of the model in `session`.

    Raises:
        PackageError: the model uses a type that ONNX Runtime's Python API does not support.
    """
    return ModelIO(
        inputs=(
            *(_spec(node) for node in session.get_inputs()),
            *(_spec(node, optional=True) for node in session.get_overridable_initializers()),
        ),
        outputs=tuple(_spec(node) for node in session.get_outputs()),
    )


def check_features(features: Sequence[Any], model_io: ModelIO) -> None:
    """Check that `features` names the columns of the model's single two-dimensional input.

    Raises:
        PackageError: they are not different names, the model has no such input, or the input has another
            number of columns.
    """
    if not all(isinstance(name, str) for name in features) or len(set(features)) != len(features):
        raise PackageError(f"{MANIFEST_FILE}: expected features to be different names, got {features!r}")
    match [spec for spec in model_io.inputs if not spec.optional]:
        case [TensorSpec(name=name, shape=(_, columns))]:
            if isinstance(columns, int) and columns != len(features):
                raise PackageError(
                    f"{MANIFEST_FILE}: expected {columns} features, one for each column of input '{name}', "
                    f"got {len(features)}"
                )
        case _:
            raise PackageError(
                f"{MANIFEST_FILE}: features name the columns of a single two-dimensional input, "
                "which this model does not have"
            )


def _spec(node: _Node, *, optional: bool = False) -> TensorSpec:
    datatype = _datatype(node.type, node.name)
    shape = tuple(None if size in UNKNOWN_NAMES else size for size in node.shape) or None
    return TensorSpec(node.name, datatype, shape, optional or datatype.startswith("optional("))


def _datatype(onnx_type: str, name: str) -> str:
    """Convert ONNX Runtime's name of a type: `seq(map(int64,tensor(float)))` → `seq(map(INT64, FP32))`."""
    outer, _, inner = onnx_type.removesuffix(")").partition("(")
    if outer == "tensor" and inner in ORT_TYPES:
        return ORT_TYPES[inner]
    if outer in ("seq", "optional"):
        return f"{outer}({_datatype(inner, name)})"
    if outer == "map":
        key, _, value = inner.partition(",")
        if key in ORT_TYPES:
            return f"map({ORT_TYPES[key]}, {_datatype(value, name)})"
    raise PackageError(f"'{name}' has the type {onnx_type}, which cannot be served")
