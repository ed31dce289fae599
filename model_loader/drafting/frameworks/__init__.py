"""Exports of fitted estimators by the converters of their frameworks, which are imported only when needed."""

from importlib import import_module
from pathlib import Path

from model_loader.drafting.frameworks.exported import Export, Exporter, framework_of
from model_loader.errors import DraftError

__all__ = ["Export", "export"]

# Framework → the module here that exports its models.
MODULES = {
    "xgboost": "boosted_trees",
    "lightgbm": "boosted_trees",
    "catboost": "boosted_trees",
    "sklearn": "scikit_learn",
    "torch": "torch_modules",
}


def export(model: object, x: object, directory: Path) -> Export:
    """Write `model.onnx`, in float32 and without ZipMap, and calculate the framework's outputs.

    Args:
        model: a fitted estimator of scikit-learn, XGBoost, LightGBM or CatBoost, or a torch module.
        x: rows as the model takes them: a DataFrame, a two-dimensional array or a sequence of strings; for a
            torch module also a tensor, or an object of names and tensors.
        directory: where `model.onnx` and its external data are written.

    Raises:
        DraftError: no framework here made the model, its converter is not installed or does not support it,
            or x has values that a graph cannot take.
    """
    if framework := framework_of(model):
        exporter: Exporter = import_module(f"{__name__}.{MODULES[framework]}").export
        directory.mkdir(parents=True, exist_ok=True)
        return exporter(model, x, directory)
    raise DraftError(
        f"a {type(model).__module__}.{type(model).__qualname__} cannot be exported: expected a fitted "
        "estimator of scikit-learn, XGBoost, LightGBM or CatBoost, or a torch module; export it as ONNX "
        "yourself, and draft that file"
    )
