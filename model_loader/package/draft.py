"""Drafts: directories to be published, which are checked before anything is uploaded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError
from model_loader.package import (
    BASELINE_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    SAMPLES_FILE,
    UNLISTED_FILES,
    FileEntry,
    ModelIO,
    TensorSpec,
    check_features,
    check_path,
    hash_file,
    parse_metrics,
    read_model_io,
)
from model_loader.package.baseline import parse_baseline
from model_loader.package.custom_ops import explain, register_extensions
from model_loader.package.samples import Sample, parse_samples

# Fields that a draft's `manifest.json` may have, with their types. Fields that publishing writes itself are
# ignored in a draft.
DRAFT_FIELDS = {
    "name": str,
    "features": list,
    "classes": list,
    "metrics": dict,
    "data": dict,
    "training": dict,
    "parent": int,
    "transformed": bool,
}
PUBLISHED_FIELDS = {"schema", "version", "created", "files", "inputs", "outputs", "publisher"}


@dataclass(frozen=True)
class Draft:
    """A package that has been checked and can be published.

    Attributes:
        files: path within the directory → its hash and size.
        model_io: the inputs and outputs of its model.
        fields: the trainer's fields of `manifest.json`.
    """

    directory: Path
    files: dict[str, FileEntry]
    model_io: ModelIO
    fields: dict[str, Any]


def read_draft(directory: Path) -> Draft:
    """Read and check the package in `directory`.

    Raises:
        PackageError: it cannot be published; the message names the file and what is wrong with it.
    """
    files = {path: hash_file(directory / path) for path in _paths(directory)}
    if MODEL_FILE not in files:
        raise PackageError(f"no {MODEL_FILE} in {directory}")
    fields = _fields(directory)
    model_io = _read_model_io(directory / MODEL_FILE)
    features = fields.get("features", [])
    if "features" in fields:
        check_features(features, model_io)
    parse_metrics(fields)
    if SAMPLES_FILE in files:
        path = directory / SAMPLES_FILE
        samples = parse_samples(path.read_bytes(), str(path))
        if not samples:
            raise PackageError(f"{path}: expected a list of at least one sample")
        # Samples of a transformed model name the inputs and outputs of the service's transform.
        if not fields.get("transformed"):
            _check_samples(samples, model_io)
    if BASELINE_FILE in files:
        inputs = {spec.name for spec in model_io.inputs}
        outputs = {spec.name for spec in model_io.outputs}
        parse_baseline(_read_json(directory / BASELINE_FILE), inputs | set(features), outputs)
    return Draft(directory, files, model_io, fields)


def _paths(directory: Path) -> list[str]:
    """List every file but the manifest. A file that cannot be part of a package is an error, not skipped."""
    if not directory.is_dir():
        raise PackageError(f"no directory {directory}")
    paths = []
    for file in sorted(directory.rglob("*")):
        path = check_path(file.relative_to(directory).as_posix())
        if file.is_symlink():
            raise PackageError(f"{file} is a symbolic link: replace it with the file itself")
        if file.name.startswith("."):
            raise PackageError(f"{file} is hidden: a package has only what the model needs, remove it")
        if file.is_file():
            paths.append(path)
        elif not file.is_dir():
            raise PackageError(f"{file} is not a regular file")
    return [path for path in paths if path not in UNLISTED_FILES]


def _fields(directory: Path) -> dict[str, Any]:
    if not (directory / MANIFEST_FILE).exists():
        return {}
    document = _read_json(directory / MANIFEST_FILE)
    if not isinstance(document, dict):
        raise PackageError(f"{MANIFEST_FILE}: expected an object, got {type(document).__name__}")
    fields = {name: value for name, value in document.items() if name not in PUBLISHED_FIELDS}
    for name, value in fields.items():
        if name not in DRAFT_FIELDS:
            raise PackageError(
                f"{MANIFEST_FILE}: unknown field '{name}'; the fields are {', '.join(DRAFT_FIELDS)}"
            )
        expected = DRAFT_FIELDS[name]
        if type(value) is not expected:
            raise PackageError(
                f"{MANIFEST_FILE}: expected '{name}' to be {expected.__name__}, got {type(value).__name__}"
            )
    return fields


def _read_model_io(path: Path) -> ModelIO:
    # ONNX Runtime takes a while to load, and only publishing needs it.
    import onnxruntime

    from model_loader.package.ort_errors import ORT_ERRORS

    options = onnxruntime.SessionOptions()
    register_extensions(options)
    options.log_severity_level = 4
    # The model is not run, so its weights need not be loaded or optimized.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as exc:
        raise PackageError(f"ONNX Runtime cannot load {path}: {explain(exc)}") from exc
    return read_model_io(session)


def _check_samples(samples: Sequence[Sample], model_io: ModelIO) -> None:
    for index, sample in enumerate(samples):
        where = f"{SAMPLES_FILE}: sample {index}"
        _check_names(where, "input", sample.inputs, model_io.inputs)
        _check_names(where, "output", sample.outputs, model_io.outputs)
        for spec in model_io.inputs:
            if spec.name not in sample.inputs and not spec.optional:
                raise PackageError(f"{where}: input '{spec.name}' is missing")


def _check_names(where: str, kind: str, values: Mapping[str, Any], specs: Sequence[TensorSpec]) -> None:
    known = [spec.name for spec in specs]
    for name in values:
        if name not in known:
            raise PackageError(f"{where}: the model has no {kind} '{name}'; it has {', '.join(known)}")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise PackageError(f"{path} is not JSON: {exc}") from exc
