"""Drafts from Python: of a fitted estimator or an ONNX file, with data in memory."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.draft import Options, Source, check_options, write_draft
from model_loader.drafting.frameworks import Export, export
from model_loader.drafting.predictions import aligned
from model_loader.drafting.report import DraftReport
from model_loader.drafting.session import DraftModel, Output
from model_loader.drafting.sources import read_source
from model_loader.drafting.tables import Table, make_table
from model_loader.errors import DraftError

Array = NDArray[Any]


def draft(
    model: object,
    x: object,
    y: object = None,
    *,
    name: str,
    out: str | PathLike[str],
    target: str | None = None,
    predictions: Mapping[str, object] | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> DraftReport:
    """Draft a package that is ready for `python -m model_loader check` and `publish`.

    Args:
        model: a fitted estimator of scikit-learn, XGBoost, LightGBM or CatBoost, or a torch module, which is
            exported to ONNX; or the path of an ONNX file or an MLflow model.
        x: rows that the model was not trained on: a DataFrame, an array, a sequence of strings, or a dict of
            arrays by the name of the input.
        y: the truth for these rows, for metrics.
        name: of the model.
        out: directory of the draft; a former draft there is replaced.
        target: name of the truth; default: that of the Series `y`, or `target`.
        predictions: outputs of the training framework by the name of the output, if the model is a file.
        rtol: relative tolerance of the samples; default: 0.001.
        atol: absolute tolerance of the samples; default: what float32 takes for the size of the outputs.

    Raises:
        DraftError: the model cannot be exported, answers differently from its framework, or does not fit the
            data; nothing is written.
    """
    truth_name = target or str(getattr(y, "name", None) or "target")
    options = Options(name, Path(out), None if y is None else truth_name, rtol, atol)
    check_options(options)
    data_name = f"{type(x).__name__} in memory"
    if isinstance(model, str | PathLike):
        table = _with_truth(columns_of(x), y, truth_name, data_name)
        source = read_source(Path(model))
        source = replace(source, expected=_given(predictions)) if predictions else source
        return write_draft(source, table, _fingerprint(table), options)
    with TemporaryDirectory() as directory:
        exported = export(model, x, Path(directory))
        table = _with_truth(_exported_columns(exported), y, truth_name, data_name)
        source = Source(
            Path(directory, "model.onnx"),
            exported.features,
            exported.classes,
            expected=_given(exported.outputs),
        )
        return write_draft(source, table, _fingerprint(table), options)


def columns_of(x: Any) -> dict[str, Array]:
    """Return the columns of a DataFrame, the arrays of a dict, or of anything else one column, `x` or `text`.

    Raises:
        DraftError: two columns of a DataFrame have the same name.
    """
    if hasattr(x, "columns"):
        names = [str(column) for column in x.columns]
        if len(set(names)) != len(names):
            raise DraftError(f"expected columns with different names, got {', '.join(names)}")
        return {name: _values(x[column]) for name, column in zip(names, x.columns, strict=True)}
    if isinstance(x, Mapping):
        return {str(name): _values(values) for name, values in x.items()}
    values = _values(x)
    return {"text" if values.dtype.kind == "O" else "x": values}


def _exported_columns(exported: Export) -> dict[str, Array]:
    """Return the rows as the graph takes them, a column each if the columns have names."""
    if exported.features is None:
        return dict(exported.inputs)
    (array,) = exported.inputs.values()
    return {name: array[:, index] for index, name in enumerate(exported.features)}


def _values(values: Any) -> Array:
    """Return a column as numbers, booleans, or strings and None."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind == "M":
        return np.array([None if np.isnat(item) else str(item) for item in array.ravel()], object)
    objects = array.astype(object)
    missing = (
        values.isna() if hasattr(values, "isna") else [item is None or item != item for item in objects.flat]
    )
    objects[np.asarray(missing, bool).reshape(objects.shape)] = None
    return objects


def _with_truth(columns: dict[str, Array], y: Any, name: str, data_name: str) -> Table:
    if y is None:
        return make_table(data_name, columns)
    if name in columns:
        raise DraftError(f"x has a column '{name}' already: give the truth another name with target=")
    truth = _values(y)
    truth = truth.reshape(-1) if truth.ndim == 2 and truth.shape[1] == 1 else truth
    return make_table(data_name, columns | {name: truth})


def _given(predictions: Mapping[str, Any]) -> Any:
    """Return a function that returns these outputs in the types and shapes of the model's."""

    def expected(
        _model: DraftModel, outputs: Mapping[str, Output], _classes: Sequence[Any]
    ) -> Mapping[str, Output]:
        if unknown := sorted(predictions.keys() - outputs.keys()):
            raise DraftError(
                f"the model has no output '{unknown[0]}' for each row; it has {', '.join(outputs)}"
            )
        return {name: aligned(name, values, outputs[name]) for name, values in predictions.items()}

    return expected


def _fingerprint(table: Table) -> str:
    """Return the sha256 of the names, types and values of all columns."""
    digest = hashlib.sha256()
    for name, values in table.columns.items():
        content = repr(values.tolist()).encode() if values.dtype.kind == "O" else values.tobytes()
        digest.update(f"{name}\n{values.dtype.str}{values.shape}\n".encode() + content)
    return digest.hexdigest()
