"""Drafts from files: a model, its data, and the predictions of its framework."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_loader.drafting.draft import Options, Source, check_options, write_draft
from model_loader.drafting.predictions import read_predictions
from model_loader.drafting.report import DraftReport
from model_loader.drafting.session import DraftModel, Output
from model_loader.drafting.tables import read_table
from model_loader.package import hash_file


def draft_file(
    model: Path,
    data: Path,
    options: Options,
    *,
    predictions: Path | None = None,
    features: Sequence[str] | None = None,
) -> DraftReport:
    """Draft a package from an ONNX file or an MLflow model.

    Args:
        data: rows that the model was not trained on.
        predictions: outputs of the training framework for these rows.
        features: columns of the model's only input, in its order; default: all of the data but the target.

    Raises:
        DraftError: a file cannot be used, or they do not fit together; nothing is written.
    """
    check_options(options)
    source = Source(model)
    table = read_table(data)
    if features is not None:
        source = replace(source, features=features)
    if predictions is not None:
        given = read_table(predictions)

        def expected(
            session: DraftModel, outputs: Mapping[str, Output], classes: Sequence[Any]
        ) -> Mapping[str, Output]:
            return read_predictions(given, session.outputs, outputs, classes, table.rows)

        source = replace(source, expected=expected)
    return write_draft(source, table, hash_file(data).sha256, options)
