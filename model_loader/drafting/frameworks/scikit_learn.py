"""Exports of scikit-learn's estimators and pipelines by skl2onnx: https://onnx.ai/sklearn-onnx/."""

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import CountVectorizer

from model_loader.drafting.frameworks.exported import (
    CONVERTER_ERRORS,
    Export,
    cannot_convert,
    framework_of,
    import_converter,
)
from model_loader.drafting.frameworks.graphs import rename_tensor, write_graph
from model_loader.drafting.frameworks.rows import (
    Rows,
    is_matrix,
    is_table,
    read_columns,
    read_matrix,
    read_texts,
)
from model_loader.errors import DraftError

HISTOGRAM_TREES = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
# Older than the newest, which not every converter here supports.
TARGET_OPSET = {"": 18, "ai.onnx.ml": 3}
# scikit-learn's default pattern of a word for ONNX Runtime; skl2onnx's own finds only ASCII.
WORD = r"[\p{L}\p{N}_]{2,}"


def export(model: Any, x: Any, directory: Path) -> Export:
    """Export an estimator or a pipeline; arguments and exceptions as in `frameworks.export`.

    The input is `x`, FP32 [batch, columns], for an array or a DataFrame of numbers. Each column is an input
    of its own if some are not numbers, or if a ColumnTransformer selects them by name.
    """
    skl2onnx = import_converter("skl2onnx", "skl2onnx", model)
    parts = [model, *model.get_params(deep=True).values()]
    rows = _read_rows(x, by_name=any(isinstance(part, ColumnTransformer) for part in parts))
    # These trees compare with thresholds in float64: see boosted_trees.py.
    in_float64 = any(framework_of(part) == "lightgbm" or isinstance(part, HISTOGRAM_TREES) for part in parts)
    # KMeans refuses float32 if it was fitted in float64.
    values = rows.rounded if is_clusterer(model) else rows.values
    outputs = predictions(model, rows.given if in_float64 else values)
    for part in parts:
        _register_converter(part)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Option zipmap is ignored")
            converted = skl2onnx.convert_sklearn(
                model,
                type(model).__name__,
                initial_types=_types(rows.inputs),
                options=_options(parts),
                target_opset=TARGET_OPSET,
            )
    except CONVERTER_ERRORS as exc:
        raise cannot_convert("skl2onnx", model, exc) from exc
    _restore_names(converted.graph, rows.inputs)
    written = write_graph(converted, rows.inputs, outputs, directory)
    used = {declared.name: rows.inputs[declared.name] for declared in converted.graph.input}
    return Export(used, written, rows.features, classes_of(model))


def predictions(model: Any, values: Any) -> dict[str, NDArray[Any]]:
    """Return the outputs of a fitted estimator, in the order and with the names that its graph gets.

    Raises:
        DraftError: the estimator neither predicts nor transforms.
    """
    if is_classifier(model):
        # For labels with several columns it is a list; the graph's probabilities then do not have rows first.
        probabilities = model.predict_proba(values) if hasattr(model, "predict_proba") else None
        scores = {"probabilities": probabilities} if isinstance(probabilities, np.ndarray) else {}
        return {"label": np.asarray(model.predict(values)), **scores}
    if is_clusterer(model) and hasattr(model, "predict"):
        scores = {"distances": model.transform(values)} if hasattr(model, "transform") else {}
        return {"label": model.predict(values), **scores}
    if is_outlier_detector(model) and hasattr(model, "predict"):
        return {"label": model.predict(values), "scores": model.decision_function(values)}
    if is_regressor(model):
        return {"prediction": model.predict(values)}
    if hasattr(model, "transform"):
        transformed = model.transform(values)
        return {"transformed": transformed.toarray() if hasattr(transformed, "toarray") else transformed}
    raise DraftError(
        f"a {type(model).__name__} cannot be exported: expected an estimator that predicts or "
        "transforms single rows"
    )


def classes_of(model: Any) -> tuple[Any, ...] | None:
    """Return the classes of a classifier with a single output; None for other estimators."""
    classes = getattr(model, "classes_", None)
    return tuple(classes.tolist()) if isinstance(classes, np.ndarray) and classes.ndim == 1 else None


def _read_rows(x: Any, *, by_name: bool) -> Rows:
    if is_table(x):
        return read_matrix(x) if is_matrix(x) and not by_name else read_columns(x)
    return read_texts(x) if np.ndim(x) == 1 else read_matrix(x)


def _types(inputs: Mapping[str, NDArray[Any]]) -> list[tuple[str, Any]]:
    """Return the types that the estimator is converted with: everything but strings is a float."""
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    return [
        (name, (StringTensorType if array.dtype.kind == "O" else FloatTensorType)([None, *array.shape[1:]]))
        for name, array in inputs.items()
    ]


def _options(parts: Iterable[Any]) -> dict[type, dict[str, str]]:
    """Return the options for vectorizers of text with scikit-learn's default pattern of a word."""
    vectorizers = [part for part in parts if hasattr(part, "token_pattern")]
    default = {part.token_pattern for part in vectorizers} == {CountVectorizer().token_pattern}
    return {type(part): {"tokenexp": WORD} for part in vectorizers} if default else {}


def _register_converter(part: Any) -> None:
    """Register the converter of an estimator that skl2onnx itself does not convert."""
    if framework_of(part) in ("xgboost", "lightgbm"):
        from model_loader.drafting.frameworks.boosted_trees import register_converter

        register_converter(part)
    if isinstance(part, HISTOGRAM_TREES):
        from model_loader.drafting.frameworks.histogram_trees import register_converters

        register_converters()


def _restore_names(graph: Any, names: Mapping[str, Any]) -> None:
    """Give the inputs the names of their columns, in which skl2onnx replaces all but letters and digits."""
    originals: dict[str, str] = {}
    for name in names:
        replaced = re.sub(r"^(?=\d)", "_", re.sub(r"[^\w+]", "_", name))
        if replaced in originals:
            raise DraftError(
                f"columns '{originals[replaced]}' and '{name}' are both '{replaced}' to skl2onnx: "
                "rename one of them"
            )
        originals[replaced] = name
    for declared in graph.input:
        original = originals[declared.name]
        rename_tensor(graph, declared.name, original)
        declared.name = original
