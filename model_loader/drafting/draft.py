"""The draft of a package: made from a model, data to evaluate it, and the outputs of its framework."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.baseline import leave_out_withheld, make_baseline
from model_loader.drafting.directory import check_directory, write_directory
from model_loader.drafting.edited_schema import keep_edits
from model_loader.drafting.evaluation import Evaluation, check_target, evaluate
from model_loader.drafting.inputs import Inputs, make_inputs
from model_loader.drafting.predictions import Difference, check_difference, compare
from model_loader.drafting.report import DraftReport
from model_loader.drafting.samples import choose_rows, make_samples, tolerances
from model_loader.drafting.schema import make_schema
from model_loader.drafting.session import DraftModel, Output
from model_loader.drafting.tables import Table
from model_loader.drafting.task import labels_of
from model_loader.errors import DraftError
from model_loader.package import BASELINE_FILE, MANIFEST_FILE, NAME, SAMPLES_FILE, SCHEMA_FILE
from model_loader.package.schema import parse_schema

# Outputs of the training framework for all rows: called with ONNX Runtime's outputs and the classes.
Expected = Callable[[DraftModel, Mapping[str, Output], Sequence[Any]], Mapping[str, Output]]


@dataclass(frozen=True)
class Source:
    """A model, and what is known of it.

    Attributes:
        model: the ONNX file.
        features: names of the columns of its only input, or None.
        classes: its labels in the order of the probabilities, or None.
        fields: further fields of the manifest.
        expected: returns the outputs of the training framework; None: there are none.
    """

    model: Path
    features: Sequence[str] | None = None
    classes: Sequence[Any] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    expected: Expected | None = None


@dataclass(frozen=True)
class Options:
    """What a draft is called and where it is written.

    Attributes:
        target: the column with the truth, or None.
        rtol: relative tolerance of the samples; None: what float32 takes.
        atol: absolute tolerance of the samples; None: what float32 takes for the size of the outputs.
    """

    name: str
    out: Path
    target: str | None = None
    rtol: float | None = None
    atol: float | None = None


def write_draft(source: Source, table: Table, fingerprint: str, options: Options) -> DraftReport:
    """Run the model over the data, and write a package that is ready for `check` and `publish`.

    Args:
        fingerprint: the sha256 of the data.

    Raises:
        DraftError: the model or the data cannot be used, or they do not fit together; nothing is written.
    """
    check_options(options)
    check_target(table, options.target)
    model = DraftModel(source.model)
    table = _whole_batches(table, model.batch)
    others = [] if options.target is None else [options.target]
    inputs = make_inputs(model.inputs, table, others, source.features)
    outputs = model.run_rows(inputs.arrays)
    evaluation = evaluate(outputs, table, options.target, source.classes)
    expected = source.expected(model, outputs, evaluation.classes) if source.expected else None
    limits = tolerances(outputs, options.rtol, options.atol)
    differences = _compare(expected or {}, outputs, limits)
    usable = ~np.any([difference.different for difference in differences], axis=0) if differences else None
    rows = choose_rows(
        inputs.fields,
        _labels(outputs, evaluation),
        np.ones(table.rows, bool) if usable is None else usable,
        model.batch,
    )
    samples = make_samples(model, inputs.arrays, rows, expected, limits)
    schema, schema_notes = keep_edits(make_schema(inputs, outputs, evaluation, options.target), options.out)
    labels = {evaluation.task.label: evaluation.classes} if evaluation.task.label else {}
    baseline, baseline_notes = make_baseline(inputs.fields, outputs, labels, evaluation.task.probabilities)
    baseline, withheld_notes = leave_out_withheld(baseline, parse_schema(schema))
    data = {"name": table.name, "sha256": fingerprint, "rows": table.rows, "columns": list(table.columns)}
    manifest = _manifest(source, options.name, inputs, evaluation, data)
    documents = {MANIFEST_FILE: manifest, SAMPLES_FILE: samples, SCHEMA_FILE: schema}
    if baseline:
        documents[BASELINE_FILE] = baseline
    files = write_directory(source.model, documents, options.out)
    return DraftReport(
        directory=options.out,
        files=files,
        manifest=manifest,
        samples=len(samples),
        has_expected=expected is not None,
        differences=tuple(differences),
        notes=(
            *table.notes,
            *inputs.notes,
            *evaluation.notes,
            *baseline_notes,
            *withheld_notes,
            *schema_notes,
        ),
        has_target=options.target is not None,
    )


def check_options(options: Options) -> None:
    """Refuse a name or a tolerance that is not valid, and a directory that is not a draft.

    Raises:
        DraftError: the message says what to do.
        PackageError: the manifest of a former draft cannot be read.
    """
    if not NAME.fullmatch(options.name):
        raise DraftError(f"expected the name of a model, which matches {NAME.pattern}, got {options.name!r}")
    if options.rtol is not None and not 0 <= options.rtol < 1:
        raise DraftError(f"expected rtol to be a number from 0 to below 1, got {options.rtol}")
    if options.atol is not None and not 0 <= options.atol < np.inf:
        raise DraftError(f"expected atol to be a number of 0 or more, got {options.atol}")
    check_directory(options.out)


def _whole_batches(table: Table, batch: int | None) -> Table:
    """Leave out the last rows if the model takes only batches of one size."""
    if batch is None or table.rows % batch == 0:
        return table
    rows = table.rows // batch * batch
    if not rows:
        raise DraftError(f"the model takes {batch} rows at once, and {table.name} has {table.rows}")
    note = f"the last {table.rows - rows} rows are left out: the model takes {batch} rows at once"
    columns = {name: values[:rows] for name, values in table.columns.items()}
    return Table(table.name, columns, rows, table.is_text, (*table.notes, note))


def _compare(
    expected: Mapping[str, Output], outputs: Mapping[str, Output], limits: Mapping[str, float]
) -> list[Difference]:
    differences = []
    for name, values in expected.items():
        difference = compare(name, values, outputs[name], limits["rtol"], limits["atol"])
        check_difference(difference, values, outputs[name])
        differences.append(difference)
    return differences


def _labels(outputs: Mapping[str, Output], evaluation: Evaluation) -> NDArray[Any] | None:
    return labels_of(outputs[evaluation.task.label]) if evaluation.task.label else None


def _manifest(
    source: Source, name: str, inputs: Inputs, evaluation: Evaluation, data: Mapping[str, Any]
) -> dict[str, Any]:
    manifest: dict[str, Any] = {"name": name, **source.fields}
    if inputs.features:
        manifest["features"] = list(inputs.features)
    if evaluation.classes:
        manifest["classes"] = list(evaluation.names or evaluation.classes)
    metrics = {**source.fields.get("metrics", {}), **(evaluation.metrics or {})}
    intervals = {name: list(ends) for name, ends in evaluation.intervals.items()}
    found = {"metrics": metrics, "intervals": intervals}
    return manifest | {key: value for key, value in found.items() if value} | {"data": dict(data)}
