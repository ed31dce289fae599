"""Models for the scenarios: the sample model, and variants of it that fail only under traffic.

The bad variants answer their own samples correctly and so pass every check before traffic. They fail if the
feature magnesium has a fractional part. The client's rows have one, the samples do not: 0.5 in most requests,
0.75 in a fifth of them. The slow model is slow only for 0.75.
"""

import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from model_loader.package import SCHEMA_FILE
from training.prepare import SCHEMA_PATH

FEATURE = 4  # magnesium
BODIES, ROWS_PER_BODY = 997, 4
USUAL, RARE = 0.5, 0.75
# Enough to delay a request noticeably: a loop of 1,800 products of 256×256 matrices.
SLOW_ROUNDS, SLOW_SIZE = 1800, 256


def request_bodies(package: Path) -> list[dict[str, Any]]:
    """Return the client's request bodies: rows of the samples, with a fraction added to magnesium.

    Rows are drawn at random: nginx splits traffic by counting requests, so with rows in turn a canary would
    receive the same ones again and again.
    """
    samples = json.loads((package / "samples.json").read_text())
    rows = [row for sample in samples for row in sample["inputs"]["x"]]
    generator = random.Random(1)
    return [
        {"inputs": {"x": [_with_fraction(row, fraction) for row in generator.choices(rows, k=ROWS_PER_BODY)]}}
        for fraction in generator.choices([USUAL, RARE], [4, 1], k=BODIES)
    ]


def _with_fraction(row: list[float], fraction: float) -> list[float]:
    return [value + (fraction if index == FEATURE else 0) for index, value in enumerate(row)]


def write_draft(
    package: Path, directory: Path, change: str = "", metrics: Mapping[str, float] | None = None
) -> None:
    """Write a package to publish into `directory`: a copy of `package` with other metrics.

    Args:
        change: a key of `CHANGES`, applied to the model; empty for none.
        metrics: metrics that replace the package's.
    """
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(package, directory)
    manifest = json.loads((package / "manifest.json").read_text())
    # The sample in the store has none; what `training` publishes has this one.
    shutil.copy(SCHEMA_PATH, directory / SCHEMA_FILE)
    kept = {key: manifest[key] for key in ("name", "features", "classes", "data", "training")}
    kept["metrics"] = manifest["metrics"] | dict(metrics or {})
    (directory / "manifest.json").write_text(json.dumps(kept))
    if change:
        model = onnx.load(directory / "model.onnx")
        CHANGES[change](model)
        _mark(model, RARE if change == "slow" else USUAL)
        onnx.checker.check_model(model)
        onnx.save(model, directory / "model.onnx")


def _erring(model: ModelProto) -> None:
    """Make the model read an index out of range."""
    _constant(model, "one_zero", np.zeros(1, np.float32))
    _constant(model, "far", np.array(9999, np.int64))
    _rename_output(model, "probabilities", "probabilities_before")
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["any_marked"], ["any_index"], to=TensorProto.INT64),
            helper.make_node("Mul", ["any_index", "far"], ["index"]),
            helper.make_node("Gather", ["one_zero", "index"], ["nothing"]),
            helper.make_node("Add", ["probabilities_before", "nothing"], ["probabilities"]),
        ]
    )


def _slow(model: ModelProto) -> None:
    """Make the model multiply zero matrices in a loop."""
    _constant(model, "square", np.zeros((SLOW_SIZE, SLOW_SIZE), np.float32))
    _constant(model, "rounds", np.array(SLOW_ROUNDS, np.int64))
    _constant(model, "go", np.array(True))
    shape = (SLOW_SIZE, SLOW_SIZE)
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["product_before", "square"], ["next"]),
            helper.make_node("Identity", ["condition"], ["condition_next"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, ()),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("product_before", TensorProto.FLOAT, shape),
        ],
        [
            helper.make_tensor_value_info("condition_next", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, shape),
        ],
    )
    _rename_output(model, "probabilities", "probabilities_before")
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["any_marked"], ["any_count"], to=TensorProto.INT64),
            helper.make_node("Mul", ["any_count", "rounds"], ["trips"]),
            helper.make_node("Loop", ["trips", "go", "square"], ["product"], body=body),
            helper.make_node("ReduceMax", ["product"], ["nothing"], keepdims=0),
            helper.make_node("Add", ["probabilities_before", "nothing"], ["probabilities"]),
        ]
    )


def _shifted(model: ModelProto) -> None:
    """Make the model predict the first class for every row."""
    _constant(model, "first", np.array(0, np.int64))
    _rename_output(model, "label", "label_before")
    model.graph.node.append(helper.make_node("Where", ["marked_row", "first", "label_before"], ["label"]))


CHANGES: Mapping[str, Callable[[ModelProto], None]] = {"erring": _erring, "slow": _slow, "shifted": _shifted}


def _mark(model: ModelProto, fraction: float) -> None:
    """Add `marked_row`, whether a row's magnesium has at least that fraction, and `any_marked`."""
    _constant(model, "magnesium", np.array(FEATURE, np.int64))
    # Rounding of float32 is far less than 0.01 for values of this size.
    _constant(model, "least", np.array(fraction - 0.01, np.float32))
    nodes = [
        helper.make_node("Gather", ["x", "magnesium"], ["whole_and_fraction"], axis=1),
        helper.make_node("Floor", ["whole_and_fraction"], ["whole"]),
        helper.make_node("Sub", ["whole_and_fraction", "whole"], ["fraction"]),
        helper.make_node("Greater", ["fraction", "least"], ["marked_row"]),
        helper.make_node("Cast", ["marked_row"], ["marked_number"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["marked_number"], ["any_marked"], keepdims=0),
    ]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes + rest)


def _constant(model: ModelProto, name: str, value: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def _rename_output(model: ModelProto, name: str, new: str) -> None:
    for node in model.graph.node:
        node.output[:] = [new if each == name else each for each in node.output]
