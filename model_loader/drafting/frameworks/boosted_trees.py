"""Exports of XGBoost and LightGBM by https://github.com/onnx/onnxmltools, and of CatBoost by itself."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.frameworks.exported import (
    CONVERTER_ERRORS,
    Export,
    cannot_convert,
    framework_of,
    import_converter,
)
from model_loader.drafting.frameworks.graphs import write_graph
from model_loader.drafting.frameworks.rows import INPUT, Rows, read_matrix
from model_loader.errors import DraftError
from model_loader.package import MODEL_FILE


def export(model: Any, x: Any, directory: Path) -> Export:
    """Export an estimator with scikit-learn's methods; arguments and exceptions as in `frameworks.export`."""
    if not hasattr(model, "predict") or not hasattr(model, "get_params"):
        raise DraftError(
            f"a {type(model).__module__}.{type(model).__qualname__} cannot be exported: expected an estimator"
            " with scikit-learn's methods, such as XGBClassifier, LGBMRegressor or CatBoostClassifier"
        )
    framework = framework_of(model)
    rows = read_matrix(x)
    # LightGBM compares with thresholds in float64. Rounding both to float32, as the graph does, keeps their
    # order; rounding only the value may not.
    outputs = _predictions(model, rows.given if framework == "lightgbm" else rows.values)
    if framework == "xgboost" and next(iter(outputs.values())).ndim > 1:
        # The converter does convert it, into a graph that answers something else.
        raise cannot_convert("onnxmltools", model, ValueError("it predicts several values for each row"))
    if framework == "catboost":
        converted = _convert_catboost(model, directory)
        # CatBoost names its input `features`.
        inputs = {declared.name: rows.inputs[INPUT] for declared in converted.graph.input}
        rows = replace(rows, inputs=inputs)
    else:
        converted = _convert(model, framework, rows)
    written = write_graph(converted, rows.inputs, outputs, directory)
    classes = np.asarray(model.classes_).tolist() if "label" in outputs else None
    return Export(rows.inputs, written, rows.features, tuple(classes) if classes else None)


def register_converter(estimator: Any) -> None:
    """Register the converter of an XGBoost or LightGBM estimator with skl2onnx, for pipelines that end in it.

    As in https://onnx.ai/sklearn-onnx/auto_tutorial/plot_gexternal_lightgbm.html.
    """
    framework = framework_of(estimator)
    xgboost = "xgboost.operator_converters.XGBoost"
    module = xgboost if framework == "xgboost" else "lightgbm.operator_converters.LightGbm"
    converters = import_converter(f"onnxmltools.convert.{module}", "onnxmltools", estimator)
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    classifies = hasattr(estimator, "predict_proba")
    update_registered_converter(
        type(estimator),
        f"{framework}.{type(estimator).__name__}",
        shapes.calculate_linear_classifier_output_shapes
        if classifies
        else shapes.calculate_linear_regressor_output_shapes,
        getattr(converters, f"convert_{framework}"),
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]} if classifies else None,
    )


def _predictions(model: Any, values: Any) -> dict[str, NDArray[Any]]:
    prediction = np.asarray(model.predict(values))
    if hasattr(model, "predict_proba"):
        return {"label": prediction, "probabilities": model.predict_proba(values)}
    return {"prediction": prediction}


def _convert(model: Any, framework: str | None, rows: Rows) -> Any:
    onnxmltools = import_converter("onnxmltools", "onnxmltools", model)
    from onnxmltools.convert.common.data_types import FloatTensorType

    if framework == "xgboost":
        # The converter takes features by number only.
        model = deepcopy(model)
        model.get_booster().feature_names = None
    try:
        return getattr(onnxmltools, f"convert_{framework}")(
            model, initial_types=[(INPUT, FloatTensorType([None, rows.inputs[INPUT].shape[1]]))]
        )
    except CONVERTER_ERRORS as exc:
        raise cannot_convert("onnxmltools", model, exc) from exc


def _convert_catboost(model: Any, directory: Path) -> Any:
    import onnx
    from catboost import CatBoostError

    try:
        model.save_model(str(directory / MODEL_FILE), format="onnx")
    except CatBoostError as exc:
        raise cannot_convert("catboost", model, exc) from exc
    return onnx.load(directory / MODEL_FILE)
