"""Changes to the graphs that converters write, so that clients can use them as they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model_loader.errors import DraftError
from model_loader.package import MODEL_FILE
from model_loader.package.ort_errors import ORT_ERRORS

BATCH = "batch"
# The converters' default, en_US, is missing in slim images.
LOCALE = "C.UTF-8"
TENSOR_TYPES = {
    "f": TensorProto.FLOAT,
    "i": TensorProto.INT64,
    "b": TensorProto.BOOL,
    "O": TensorProto.STRING,
}


def write_graph(
    model: onnx.ModelProto,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
    directory: Path,
) -> dict[str, NDArray[Any]]:
    """Write a converter's graph to `model.onnx`: with rows first in each shape, and without ZipMap.

    Args:
        inputs: name → rows; what the graph takes as float32 is cast to that within it.
        outputs: new name of the graph's output → the framework's output for these rows, in the order of the
            graph; further outputs of the graph are removed.

    Returns:
        The framework's outputs in the shapes and datatypes of the graph's outputs.

    Raises:
        DraftError: ONNX Runtime cannot run the graph, or an output has another size than the framework's.
    """
    graph = model.graph
    _remove_zip_maps(graph)
    _set_locale(graph)
    _declare_inputs(graph, inputs)
    del graph.output[len(outputs) :]
    for declared, name in zip(graph.output, outputs, strict=True):
        if declared.name != name:
            rename_tensor(graph, name, f"{name}:intermediate")
            rename_tensor(graph, declared.name, name)
            declared.name = name
    reshaped = {}
    for declared, array, expected in zip(
        graph.output, _first_outputs(model, inputs), outputs.values(), strict=True
    ):
        shape = (len(expected), *array.shape[1:])
        if np.size(expected) != np.prod(shape):
            raise DraftError(
                f"the converter's output '{declared.name}' has the shape {list(array.shape)} for the first "
                f"rows, the framework's {list(np.shape(expected))} for all rows: the converter lacks support"
            )
        reshaped[declared.name] = np.asarray(expected).reshape(shape).astype(array.dtype)
        _set_shape(declared, (BATCH, *array.shape[1:]))
    (directory / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
    return reshaped


def rename_tensor(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor in all nodes of a graph."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _remove_zip_maps(graph: onnx.GraphProto) -> None:
    """Replace each list of dictionaries, class → probability, by the tensor that it is made of."""
    for node in [node for node in graph.node if node.op_type == "ZipMap"]:
        graph.node.remove(node)
        output = next(output for output in graph.output if output.name == node.output[0])
        output.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [None, None]))
        rename_tensor(graph, node.input[0], output.name)


def _set_locale(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        if node.op_type == "StringNormalizer":
            kept = [attribute for attribute in node.attribute if attribute.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("locale", LOCALE)])


def _declare_inputs(graph: onnx.GraphProto, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Declare inputs with their own datatypes; cast integers and booleans where the graph takes floats."""
    for declared in graph.input:
        array = inputs[declared.name]
        tensor_type = declared.type.tensor_type
        datatype = TENSOR_TYPES[array.dtype.kind]
        if tensor_type.elem_type != datatype:
            cast = f"{declared.name}:float"
            rename_tensor(graph, declared.name, cast)
            graph.node.insert(0, helper.make_node("Cast", [declared.name], [cast], to=tensor_type.elem_type))
            tensor_type.elem_type = datatype
        _set_shape(declared, (BATCH, *array.shape[1:]))


def _set_shape(declared: onnx.ValueInfoProto, shape: Sequence[int | str]) -> None:
    datatype = declared.type.tensor_type.elem_type
    declared.type.CopyFrom(helper.make_tensor_type_proto(datatype, shape))


def _first_outputs(model: onnx.ModelProto, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Run the graph with the first rows: converters do not always declare the right shapes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    names = [declared.name for declared in model.graph.output]
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        rows = {node.name: inputs[node.name][:2] for node in session.get_inputs()}
        outputs: list[NDArray[Any]] = session.run(names, rows)
    except ORT_ERRORS as exc:
        raise DraftError(f"ONNX Runtime cannot run the converter's graph: {exc}") from exc
    return outputs
