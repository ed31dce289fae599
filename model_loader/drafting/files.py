"""Drafts from files: a model, its data, and the predictions of its framework."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_loader.drafting.draft import Options, check_options, write_draft
from model_loader.drafting.mlflow_model import MLMODEL_FILE, read_input_example
from model_loader.drafting.predictions import read_predictions
from model_loader.drafting.report import DraftReport
from model_loader.drafting.session import DraftModel, Output
from model_loader.drafting.sources import read_source
from model_loader.drafting.tables import Table, read_table
from model_loader.errors import DraftError
from model_loader.package import hash_file


def draft_file(
    model: Path,
    data: Path | None,
    options: Options,
    *,
    predictions: Path | None = None,
    features: Sequence[str] | None = None,
) -> DraftReport:
    """Draft a package from an ONNX file, a package or an MLflow model.

    Args:
        data: rows that the model was not trained on; None: the input example of an MLflow model.
        predictions: outputs of the training framework for these rows.
        features: columns of the model's only input, in its order; default: all of the data but the target.

    Raises:
        DraftError: a file cannot be used, or they do not fit together; nothing is written.
    """
    check_options(options)
    source = read_source(model)
    table, fingerprint = _read_data(model, data)
    if features is not None:
        source = replace(source, features=features)
    if predictions is not None:
        given = read_table(predictions)

        def expected(
            session: DraftModel, outputs: Mapping[str, Output], classes: Sequence[Any]
        ) -> Mapping[str, Output]:
            return read_predictions(given, session.outputs, outputs, classes, table.rows)

        source = replace(source, expected=expected)
    return write_draft(source, table, fingerprint, options)


def _read_data(model: Path, data: Path | None) -> tuple[Table, str]:
    """Return the rows, and the sha256 of their file."""
    if data is not None:
        before = hash_file(data) if data.is_file() else None
        table, after = read_table(data), hash_file(data)
        if after != before:
            raise DraftError(f"{data} changed while it was read: draft again")
        return table, after.sha256
    example = read_input_example(model) if (model / MLMODEL_FILE).is_file() else None
    if example is None:
        raise DraftError(f"{model} has no rows to run it on: give them with --data")
    return example, hash_file(model / example.name).sha256
