"""MLflow models with an ONNX flavor: https://mlflow.org/docs/latest/ml/model/."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_loader.drafting.draft import Source
from model_loader.drafting.tables import Table, make_table
from model_loader.errors import DraftError

MLMODEL_FILE = "MLmodel"


def read_mlflow_model(directory: Path) -> Source:
    """Return the ONNX file of an MLflow model, with the columns of its signature and the metrics of its run.

    Raises:
        DraftError: the file MLmodel cannot be read, or has no ONNX flavor.
    """
    document = _read_document(directory)
    flavors = document.get("flavors") or {}
    if "onnx" not in flavors:
        raise DraftError(
            f"{directory} has the flavors {', '.join(flavors) or 'none'}: expected onnx. Load the model "
            "with mlflow and draft it in Python, with model_loader.registry.draft"
        )
    data = flavors["onnx"].get("data") if isinstance(flavors["onnx"], dict) else None
    if not isinstance(data, str) or not (directory / data).is_file():
        raise DraftError(
            f"{directory / MLMODEL_FILE}: expected the name of a file in the onnx flavor, got {data!r}"
        )
    run = {name: document[name] for name in ("run_id", "model_id", "mlflow_version") if document.get(name)}
    fields: dict[str, Any] = {"training": {"mlflow": run}} if run else {}
    if metrics := _read_metrics(directory):
        fields["metrics"] = metrics
    return Source(directory / data, _columns(document), fields=fields)


def read_input_example(directory: Path) -> Table | None:
    """Return the input example of an MLflow model, or None if it has none.

    Raises:
        DraftError: the example is not one of columns or arrays.
    """
    document = _read_document(directory)
    name = (document.get("saved_input_example_info") or {}).get("artifact_path")
    if not name:
        return None
    path = directory / name
    try:
        example = json.loads(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise DraftError(f"{path}: the input example cannot be read: {exc}") from exc
    match example:
        case {"columns": [*columns], "data": [*rows]}:
            values = zip(*rows, strict=True)
            return make_table(
                name,
                {str(column): _array(list(value)) for column, value in zip(columns, values, strict=True)},
            )
        case {"inputs": dict(inputs)}:
            return make_table(name, {input_name: _array(value) for input_name, value in inputs.items()})
        case {"inputs": list(values)} | {"data": list(values)}:
            return make_table(name, {"x": _array(values)})
    raise DraftError(f"{path}: expected columns and data, or inputs; give the rows with --data")


def _read_document(directory: Path) -> Mapping[str, Any]:
    # Only this source needs it.
    import yaml

    path = directory / MLMODEL_FILE
    try:
        document = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as exc:
        raise DraftError(f"{path} cannot be read: {exc}") from exc
    if not isinstance(document, dict):
        raise DraftError(f"{path}: expected an object, got {type(document).__name__}")
    return document


def _columns(document: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names of the signature's columns; None if it has tensors, or no names."""
    inputs = (document.get("signature") or {}).get("inputs")
    columns = json.loads(inputs) if isinstance(inputs, str) else inputs
    if not isinstance(columns, list):
        return None
    names = tuple(column.get("name") for column in columns if column.get("type") != "tensor")
    return names if names and all(isinstance(name, str) for name in names) else None


def _read_metrics(directory: Path) -> dict[str, float]:
    """Return the last value of each metric of the run, which has the model among its artifacts.

    Each is a file in `metrics`, beside `artifacts`, with lines of a time, a value and a step.
    """
    parents = [directory, *directory.resolve().parents]
    folders = [parent.parent / "metrics" for parent in parents if parent.name == "artifacts"]
    metrics = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        try:
            value = float(path.read_text(encoding="utf-8").splitlines()[-1].split()[1])
        except (ValueError, IndexError) as exc:
            raise DraftError(f"{path} is not a metric of MLflow: {exc}") from exc
        if math.isfinite(value):
            metrics[path.name] = value
    return metrics


def _array(values: Any) -> Any:
    array = np.array(values)
    if array.dtype.kind in "biuf":
        return array
    objects = np.array(values, object)
    texts = any(isinstance(value, str) for value in objects.ravel())
    return objects if texts else objects.astype(np.float64)
