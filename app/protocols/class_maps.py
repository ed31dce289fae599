"""Outputs of ZipMap as tensors: the rows' scores by class become a column for each class.

https://onnx.ai/onnx/operators/onnx_aionnxml_ZipMap.html
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from app.errors import InferenceFailed, RequestError
from app.model.served_model import ServedModel
from app.tensors.datatypes import Array
from app.tensors.from_json import inputs_from_json
from model_loader.package import TensorSpec
from model_loader.package.samples import Sample

CLASS_MAPS = {"seq(map(INT64, FP32))", "seq(map(STRING, FP32))"}

Classes: TypeAlias = tuple[str | int, ...]

# Only the outputs say which classes there are, in which order: a manifest may name them as people do.
_classes: WeakKeyDictionary[ServedModel, dict[str, Classes]] = WeakKeyDictionary()


def is_class_map(spec: TensorSpec) -> bool:
    """Return whether an output has a map from class to score for each row."""
    return spec.datatype in CLASS_MAPS


def known_classes(model: ServedModel) -> dict[str, Classes]:
    """Return output → classes, in the order of the columns; empty until `learn` or the first answer."""
    return _classes.setdefault(model, {})


def learn(model: ServedModel, samples: Sequence[Sample]) -> None:
    """Run the model once to learn the classes of its outputs, unless it has no such output.

    Args:
        samples: the package's samples; without any, the model runs on its example. If it has none, the first
            answer defines the classes.
    """
    specs = [spec for spec in model.outputs.values() if is_class_map(spec)]
    example = samples[0].inputs if samples else model.example
    if not specs or example is None:
        return
    try:
        outputs = model.infer(inputs_from_json(example, model.inputs))
        for spec in specs:
            to_tensor(model, spec, outputs[spec.name])
    except RequestError:
        return


def to_tensor(model: ServedModel, spec: TensorSpec, rows: Sequence[Mapping[str | int, float]]) -> Array:
    """Return an output as a tensor of shape (rows, classes), FP32.

    Args:
        rows: class → score, for each row.

    Raises:
        InferenceFailed: a row has other classes than the model's first output had.
    """
    known = known_classes(model)
    classes = known.setdefault(spec.name, tuple(rows[0])) if rows else known.get(spec.name, ())
    names, get = dict.fromkeys(classes).keys(), itemgetter(*classes) if classes else tuple
    scores = []
    for index, row in enumerate(rows):
        if row.keys() != names:
            raise InferenceFailed(
                f"output '{spec.name}': expected the classes {_preview(classes)}, got {_preview(tuple(row))} "
                f"in row {index}"
            )
        scores.append(get(row))
    return np.array(scores, np.float32).reshape(len(rows), len(classes))


def _preview(classes: Classes) -> str:
    return ", ".join(map(repr, classes[:10])) + (", …" if len(classes) > 10 else "")
