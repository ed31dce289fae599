"""Tiny ONNX models, one for each feature that the tests need."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import onnx
from onnx import TensorProto, TypeProto, helper

Shape = Sequence[int | str | None] | None

FLOAT = TensorProto.FLOAT


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[onnx.TensorProto] = (),
) -> bytes:
    """Return a serialized model, in opsets that every supported ONNX Runtime reads."""
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return data


def tensor(name: str, datatype: int = FLOAT, shape: Shape = ("batch", 2)) -> onnx.ValueInfoProto:
    """Return the declaration of an input or output tensor."""
    return helper.make_tensor_value_info(name, datatype, shape)


def identity(datatype: int, shape: Shape = ("n",)) -> bytes:
    """Return a model of y = x."""
    return model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [tensor("x", datatype, shape)],
        [tensor("y", datatype, shape)],
    )


def affine() -> bytes:
    """Return a model of y = 2·x + 1 over FP32 [batch, 2]."""
    two = helper.make_tensor("two", FLOAT, [], [2.0])
    one = helper.make_tensor("one", FLOAT, [], [1.0])
    nodes = [helper.make_node("Mul", ["x", "two"], ["z"]), helper.make_node("Add", ["z", "one"], ["y"])]
    return model(nodes, [tensor("x")], [tensor("y")], [two, one])


def affine_and_echo() -> bytes:
    """Return a model of y = 2·x + 1 over FP32 [batch, 2], and echo = words over STRING [n]."""
    two = helper.make_tensor("two", FLOAT, [], [2.0])
    one = helper.make_tensor("one", FLOAT, [], [1.0])
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["z"]),
        helper.make_node("Add", ["z", "one"], ["y"]),
        helper.make_node("Identity", ["words"], ["echo"]),
    ]
    inputs = [tensor("x"), tensor("words", TensorProto.STRING, ["n"])]
    return model(nodes, inputs, [tensor("y"), tensor("echo", TensorProto.STRING, ["n"])], [two, one])


def layers(size: int = 64, count: int = 3) -> bytes:
    """Return a model of y = x · w · … · w over FP32 [batch, size], with weights large enough to be mapped."""
    weights = [
        helper.make_tensor(f"w{i}", FLOAT, [size, size], [(i + 1) / size] * size * size) for i in range(count)
    ]
    names = ["x", *(f"h{i}" for i in range(1, count)), "y"]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(count)]
    return model(nodes, [tensor("x", shape=("batch", size))], [tensor("y", shape=("batch", size))], weights)


def dense(*widths: int) -> bytes:
    """Return a model of y = x · w0 · w1 … over FP32 [batch, widths[0]]; all weights are 0.001."""
    weights = [
        helper.make_tensor(f"w{i}", FLOAT, pair, [1e-3] * pair[0] * pair[1])
        for i, pair in enumerate(pairwise(widths))
    ]
    names = ["x", *(f"h{i}" for i in range(1, len(weights))), "y"]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(len(weights))]
    ends = [tensor("x", shape=("batch", widths[0]))], [tensor("y", shape=("batch", widths[-1]))]
    return model(nodes, *ends, weights)


def total() -> bytes:
    """Return a model of s = a + b over FP32 [n] and INT64 [n], and f = sum(s), an output without rows."""
    nodes = [
        helper.make_node("Cast", ["b"], ["c"], to=FLOAT),
        helper.make_node("Add", ["a", "c"], ["s"]),
        helper.make_node("ReduceSum", ["s"], ["f"], keepdims=0),
    ]
    return model(
        nodes,
        [tensor("a", FLOAT, ["n"]), tensor("b", TensorProto.INT64, ["n"])],
        [tensor("s", FLOAT, ["n"]), tensor("f", FLOAT, [])],
    )


def with_default() -> bytes:
    """Return a model of y = x + b, where b has the default [10, 20]."""
    default = helper.make_tensor("b", FLOAT, [2], [10.0, 20.0])
    nodes = [helper.make_node("Add", ["x", "b"], ["y"])]
    return model(nodes, [tensor("x"), tensor("b", FLOAT, [2])], [tensor("y")], [default])


def sequence(datatype: int = FLOAT) -> bytes:
    """Return a model of y = x over a sequence of tensors."""
    return model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_sequence_value_info("x", datatype, ["n"])],
        [helper.make_tensor_sequence_value_info("y", datatype, None)],
    )


def optional() -> bytes:
    """Return a model of y = whether x has a value."""
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, ["n"]))
    return model(
        [helper.make_node("OptionalHasElement", ["x"], ["y"])],
        [helper.make_value_info("x", kind)],
        [tensor("y", TensorProto.BOOL, [])],
    )


def vectorizer(key: int, **vocabulary: Any) -> bytes:
    """Return a model of y = the values of the map x in the order of the vocabulary."""
    kind = TypeProto()
    kind.map_type.key_type = key
    kind.map_type.value_type.CopyFrom(helper.make_tensor_type_proto(FLOAT, []))
    node = helper.make_node("DictVectorizer", ["x"], ["y"], domain="ai.onnx.ml", **vocabulary)
    return model([node], [helper.make_value_info("x", kind)], [tensor("y", FLOAT, [None, 2])])


def gather() -> bytes:
    """Return a model of y = [10, 20, 30][i], which fails if i is out of range."""
    table = helper.make_tensor("table", FLOAT, [3], [10.0, 20.0, 30.0])
    node = helper.make_node("Gather", ["table", "i"], ["y"])
    return model([node], [tensor("i", TensorProto.INT64, ["n"])], [tensor("y", FLOAT, ["n"])], [table])


def quantized(size: int = 8) -> bytes:
    """Return a model of y = x · w over FP32 [batch, size], quantized by the largest value in the batch."""
    weights = helper.make_tensor(
        "w", TensorProto.INT8, [size, size], [(7 * i) % 19 - 9 for i in range(size * size)]
    )
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero"], ["product"]),
        helper.make_node("Cast", ["product"], ["float"], to=FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["y"]),
    ]
    ends = [tensor("x", shape=("batch", size))], [tensor("y", shape=("batch", size))]
    return model(nodes, *ends, [weights])


def endless() -> bytes:
    """Return a model of y = x that never answers."""
    values = [tensor("i", TensorProto.INT64, ()), tensor("again", TensorProto.BOOL, ()), tensor("value")]
    nodes = [helper.make_node("Identity", [name], [f"next_{name}"]) for name in ("again", "value")]
    outputs = [tensor("next_again", TensorProto.BOOL, ()), tensor("next_value")]
    body = helper.make_graph(nodes, "body", values, outputs)
    always = helper.make_tensor("always", TensorProto.BOOL, [], [True])
    loop = helper.make_node("Loop", ["", "always", "x"], ["y"], body=body)
    return model([loop], [tensor("x")], [tensor("y")], [always])


def slow(size: int = 1000, layers: int = 400) -> bytes:
    """Return a model of y = tanh(x·W·W·…) that runs long enough for requests to queue; W is all ones."""
    weights = helper.make_tensor("w", FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("Constant", [], ["shape"], value_ints=[size, size]),
        helper.make_node("Expand", ["w", "shape"], ["W"]),
        helper.make_node("MatMul", ["x", "W"], ["h0"]),
        *(helper.make_node("MatMul", [f"h{i}", "W"], [f"h{i + 1}"]) for i in range(layers)),
        helper.make_node("Tanh", [f"h{layers}"], ["y"]),
    ]
    shape: Shape = ["batch", size]
    return model(nodes, [tensor("x", FLOAT, shape)], [tensor("y", FLOAT, shape)], [weights])


def zipmap(*classes: str | int) -> bytes:
    """Return a model of label = the index of the largest score, and scores = a map from class to score."""
    is_integer = isinstance(classes[0], int)
    key = TensorProto.INT64 if is_integer else TensorProto.STRING
    names: dict[str, Any] = {"classlabels_int64s" if is_integer else "classlabels_strings": classes}
    nodes = [
        helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["x"], ["scores"], domain="ai.onnx.ml", **names),
    ]
    kind = helper.make_map_type_proto(key, helper.make_tensor_type_proto(FLOAT, []))
    scores = helper.make_value_info("scores", helper.make_sequence_type_proto(kind))
    ends = (
        [tensor("x", shape=("batch", len(classes)))],
        [tensor("label", TensorProto.INT64, ["batch"]), scores],
    )
    return model(nodes, *ends)


def sum_and_difference(datatype: int = TensorProto.INT32) -> bytes:
    """Return a model of OUTPUT0 = INPUT0 + INPUT1 and OUTPUT1 = INPUT0 - INPUT1 over [batch, 16].

    Triton's example clients call it `simple`, and `simple_string` if the integers are strings.
    """
    nodes = [
        helper.make_node("Cast", ["INPUT0"], ["a"], to=TensorProto.INT32),
        helper.make_node("Cast", ["INPUT1"], ["b"], to=TensorProto.INT32),
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("Cast", ["sum"], ["OUTPUT0"], to=datatype),
        helper.make_node("Cast", ["difference"], ["OUTPUT1"], to=datatype),
    ]
    inputs, outputs = (
        [tensor(f"{end}{i}", datatype, ["batch", 16]) for i in (0, 1)] for end in ("INPUT", "OUTPUT")
    )
    return model(nodes, inputs, outputs)


def echo(datatype: int = TensorProto.STRING) -> bytes:
    """Return a model of OUTPUT0 = INPUT0 over [batch, 16], which Triton's clients call `simple_identity`."""
    shape: Shape = ["batch", 16]
    node = helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])
    return model([node], [tensor("INPUT0", datatype, shape)], [tensor("OUTPUT0", datatype, shape)])
