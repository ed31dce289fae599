"""The models of the benchmarks, each a directory with `model.onnx` and the `samples.json` of a package."""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model_loader.drafting.baseline import numeric_bins

SEED = 1
OPSET = {"": 18, "ai.onnx.ml": 3}
ROWS = 8
RTOL, ATOL = 1e-3, 1e-5
FEATURES = [f"feature_{number}" for number in range(30)]

Arrays = dict[str, NDArray[Any]]
Sample = tuple[NDArray[np.float32], Arrays]


def make(name: str, directory: Path) -> None:
    """Write one of MODELS into `directory`, with samples calculated without ONNX Runtime."""
    data, samples = MODELS[name]()
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(data)
    document = [
        {
            "inputs": {"x": _decimals(x)},
            "outputs": {key: _decimals(array) for key, array in outputs.items()},
            "rtol": RTOL,
            "atol": ATOL,
        }
        for x, outputs in samples
    ]
    (directory / "samples.json").write_text(json.dumps(document))
    if name == "trees":
        (directory / "manifest.json").write_text(json.dumps({"features": FEATURES}))
        (directory / "baseline.json").write_text(json.dumps(_baseline(samples)))


def trees() -> tuple[bytes, list[Sample]]:
    """Return a gradient boosting model: 300 trees of depth 3 on 30 features."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import make_classification
    from sklearn.ensemble import GradientBoostingClassifier

    x, y = make_classification(4000, 30, n_informative=12, random_state=SEED)
    # Train on the float32 values that the model receives. Otherwise a threshold could lie between a float64
    # and its float32.
    x = x.astype(np.float32)
    classifier = GradientBoostingClassifier(n_estimators=300, random_state=SEED).fit(x, y)
    model = convert_sklearn(
        classifier,
        initial_types=[("x", FloatTensorType([None, 30]))],
        options={"zipmap": False},
        target_opset=OPSET,
    )
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    names = [output.name for output in model.graph.output]
    samples = [
        (row, dict(zip(names, (classifier.predict(row), classifier.predict_proba(row)), strict=True)))
        for row in np.split(x[:ROWS], ROWS)
    ]
    return model.SerializeToString(), samples


def large() -> tuple[bytes, list[Sample]]:
    """Return a model with 192 MB of weights: 12 consecutive MatMuls of 2048×2048 float32."""
    return _layers(widths=[2048] * 13)


def heavy() -> tuple[bytes, list[Sample]]:
    """Return a model with much work and small requests: 64 inputs, 16 outputs, four layers of 2048."""
    return _layers(widths=[64, 2048, 2048, 2048, 2048, 16])


def image() -> tuple[bytes, list[Sample]]:
    """Return a model with a large input, 3×224×224, and little work: 1,000 sums of the channels' means."""
    numbers = np.random.default_rng(SEED)
    pictures = numbers.standard_normal((2, 1, 3, 224, 224)).astype(np.float32)
    weights = numbers.standard_normal((3, 1000)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["means"]),
        helper.make_node("Flatten", ["means"], ["channels"]),
        helper.make_node("MatMul", ["channels", "weights"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(weights, "weights")]
    model = _model(nodes, ["batch", 3, 224, 224], ["batch", 1000], tensors)
    return model, [(x, {"y": x.astype(np.float64).mean(axis=(2, 3)) @ weights}) for x in pictures]


def _baseline(samples: Sequence[Sample]) -> Any:
    """Return bins for every feature and output, so that Scorebox counts drift as well."""
    columns = np.concatenate([x for x, _ in samples]).T
    return {
        "features": {name: numeric_bins(column) for name, column in zip(FEATURES, columns, strict=True)},
        "outputs": {
            "label": {"categories": [0, 1], "shares": [0.5, 0.5]},
            "probabilities": numeric_bins(np.linspace(0, 1, 11, dtype=np.float32)),
        },
    }


MODELS: dict[str, Callable[[], tuple[bytes, list[Sample]]]] = {
    "trees": trees,
    "large": large,
    "heavy": heavy,
    "image": image,
}


def _layers(widths: Sequence[int]) -> tuple[bytes, list[Sample]]:
    """Return a chain of MatMuls with random weights, scaled so that values neither grow nor vanish."""
    numbers = np.random.default_rng(SEED)
    weights = [
        (numbers.standard_normal((wide, high)) / np.sqrt(wide)).astype(np.float32)
        for wide, high in pairwise(widths)
    ]
    last = len(weights) - 1
    nodes = [
        helper.make_node("MatMul", [f"y{i - 1}" if i else "x", f"w{i}"], [f"y{i}" if i < last else "y"])
        for i in range(len(weights))
    ]
    tensors = [numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)]
    rows = numbers.standard_normal((ROWS, 1, widths[0])).astype(np.float32)
    samples = []
    for x in rows:
        y: NDArray[Any] = x.astype(np.float64)
        for weight in weights:
            y = y @ weight
        samples.append((x, {"y": y}))
    return _model(nodes, ["batch", widths[0]], ["batch", widths[-1]], tensors), samples


def _model(
    nodes: Sequence[onnx.NodeProto],
    x: Sequence[int | str],
    y: Sequence[int | str],
    weights: Sequence[onnx.TensorProto],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET[""])], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _decimals(array: NDArray[Any]) -> Any:
    """Return nested lists, with floats in the shortest decimal form of their float32 value."""
    if array.dtype.kind != "f":
        return array.tolist()
    return array.astype(np.float32).astype(str).astype(float).tolist()
