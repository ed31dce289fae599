"""The draft of a package: made from a model, data to evaluate it, and the outputs of its framework."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.baseline import make_baseline
from model_loader.drafting.evaluation import Evaluation, evaluate
from model_loader.drafting.inputs import Inputs, make_inputs
from model_loader.drafting.predictions import Difference, check_difference, compare
from model_loader.drafting.report import DraftReport
from model_loader.drafting.samples import choose_rows, make_samples, tolerances
from model_loader.drafting.schema import make_schema
from model_loader.drafting.session import DraftModel, Output
from model_loader.drafting.tables import Table
from model_loader.drafting.task import labels_of
from model_loader.errors import DraftError
from model_loader.package import BASELINE_FILE, MANIFEST_FILE, MODEL_FILE, NAME, SAMPLES_FILE, SCHEMA_FILE
from model_loader.package.external_data import external_files
from model_loader.package.json_file import read_json
from model_loader.package.manifest_fields import PUBLISHED_FIELDS
from model_loader.store.atomic import replace_directory

# Outputs of the training framework for all rows: called with ONNX Runtime's outputs and the classes.
Expected = Callable[[DraftModel, Mapping[str, Output], Sequence[Any]], Mapping[str, Output]]
DRAFT_FILES = frozenset({MODEL_FILE, MANIFEST_FILE, SAMPLES_FILE, SCHEMA_FILE, BASELINE_FILE})


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
    notes: tuple[str, ...] = ()


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
        inputs.fields, _labels(outputs, evaluation), np.ones(table.rows, bool) if usable is None else usable
    )
    samples = make_samples(model, inputs.arrays, rows, expected, limits)
    schema = make_schema(inputs, outputs, evaluation, options.target)
    labels = {evaluation.task.label: evaluation.classes} if evaluation.task.label else {}
    baseline, baseline_notes = make_baseline(inputs.fields, outputs, labels, evaluation.task.probabilities)
    data = {"name": table.name, "sha256": fingerprint, "rows": table.rows, "columns": list(table.columns)}
    manifest = _manifest(source, options.name, inputs, evaluation, data)
    documents = {MANIFEST_FILE: manifest, SAMPLES_FILE: samples, SCHEMA_FILE: schema}
    if baseline:
        documents[BASELINE_FILE] = baseline
    files = _write(source.model, documents, options.out)
    return DraftReport(
        directory=options.out,
        files=files,
        manifest=manifest,
        samples=len(samples),
        has_expected=expected is not None,
        differences=tuple(differences),
        notes=(*source.notes, *table.notes, *inputs.notes, *evaluation.notes, *baseline_notes),
        has_target=options.target is not None,
    )


def check_options(options: Options) -> None:
    """Refuse a name that is not valid, and a directory that is not a draft.

    Raises:
        DraftError: the message says what to do.
    """
    if not NAME.fullmatch(options.name):
        raise DraftError(f"expected the name of a model, which matches {NAME.pattern}, got {options.name!r}")
    out = options.out
    if not out.exists():
        return
    if not out.is_dir():
        raise DraftError(f"{out} is a file: give a directory for the draft")
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    if files and not _is_former_draft(out):
        raise DraftError(
            f"{out} is not empty, and was not written by draft: give another directory, or empty it"
        )
    known = DRAFT_FILES | {*(external_files(out / MODEL_FILE) if MODEL_FILE in files else ())}
    if other := sorted(files - known):
        raise DraftError(
            f"{out} has {other[0]}, which is not part of a draft: move it, or give another directory"
        )


def _is_former_draft(out: Path) -> bool:
    """Return whether a directory has a manifest as it is written here, and is not published."""
    manifest = out / MANIFEST_FILE
    document = read_json(manifest) if manifest.is_file() else None
    match document:
        case {"data": {"columns": [*_]}, **others}:
            return not PUBLISHED_FIELDS.keys() & others.keys()
    return False


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
    return manifest | ({"metrics": metrics} if metrics else {}) | {"data": dict(data)}


def _write(model: Path, documents: Mapping[str, Any], out: Path) -> tuple[str, ...]:
    """Write the files beside `out`, and then replace it in one step."""
    data_files = external_files(model)
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{uuid4().hex}")
    temporary.mkdir()
    try:
        shutil.copyfile(model, temporary / MODEL_FILE)
        for name in data_files:
            _link(model.parent / name, temporary / name)
        for name, document in documents.items():
            text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
            (temporary / name).write_text(text + "\n", encoding="utf-8")
        replace_directory(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return (MODEL_FILE, *data_files, *documents)


def _link(source: Path, target: Path) -> None:
    """Link a file, which takes no space, or copy it to another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
