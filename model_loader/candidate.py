"""A directory that somebody wants to publish, checked before a byte of it leaves."""

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
    FileEntry,
    Signature,
    TensorSpec,
    check_path,
    encode,
    hash_file,
    is_number,
    parse_metrics,
    read_signature,
)

# What a trainer may say in a draft `manifest.json`, and what publishing says in its place.
DRAFT_FIELDS = {
    "name": str,
    "features": list,
    "classes": list,
    "metrics": dict,
    "data": dict,
    "training": dict,
    "parent": int,
}
PUBLISHED_FIELDS = {"schema", "version", "created", "files", "inputs", "outputs", "publisher"}


@dataclass(frozen=True)
class Candidate:
    """What will be published.

    Attributes:
        files: path within the directory → its hash and size.
        signature: what the model takes and gives.
        draft: what the trainer said in `manifest.json`.
    """

    directory: Path
    files: dict[str, FileEntry]
    signature: Signature
    draft: dict[str, Any]


def read_candidate(directory: Path) -> Candidate:
    """Reads and checks the package in `directory`.

    Raises:
        PackageError: the message names the file and what is wrong with it.
    """
    files = {path: hash_file(directory / path) for path in _paths(directory)}
    if MODEL_FILE not in files:
        raise PackageError(f"no {MODEL_FILE} in {directory}")
    draft = _draft(directory)
    signature = _open(directory / MODEL_FILE)
    if "features" in draft:
        _check_features(draft["features"], signature)
    parse_metrics(draft)
    encode(draft)  # a NaN in what only people read is better found now than at the end
    if SAMPLES_FILE in files:
        _check_samples(_read_json(directory / SAMPLES_FILE), signature)
    if BASELINE_FILE in files:
        _read_json(directory / BASELINE_FILE)
    return Candidate(directory, files, signature, draft)


def _paths(directory: Path) -> list[str]:
    """Every file but the manifest; whatever cannot be part of a package is refused, not left out."""
    if not directory.is_dir():
        raise PackageError(f"no directory {directory}")
    paths = []
    for file in sorted(directory.rglob("*")):
        path = check_path(file.relative_to(directory).as_posix())
        if file.is_symlink():
            raise PackageError(f"{file} is a symbolic link: put the file itself there")
        if file.name.startswith("."):
            raise PackageError(f"{file} is hidden: a package holds what the model needs, take the rest out")
        if file.is_file():
            paths.append(path)
        elif not file.is_dir():
            raise PackageError(f"{file} is not a file")
    return [path for path in paths if path != MANIFEST_FILE]


def _draft(directory: Path) -> dict[str, Any]:
    if not (directory / MANIFEST_FILE).exists():
        return {}
    draft = _read_json(directory / MANIFEST_FILE)
    if not isinstance(draft, dict):
        raise PackageError(f"{MANIFEST_FILE}: expected an object, got {type(draft).__name__}")
    fields = {name: value for name, value in draft.items() if name not in PUBLISHED_FIELDS}
    for name, value in fields.items():
        if name not in DRAFT_FIELDS:
            raise PackageError(f"{MANIFEST_FILE}: no field '{name}'; it may have {', '.join(DRAFT_FIELDS)}")
        expected = DRAFT_FIELDS[name]
        if not isinstance(value, expected) or isinstance(value, bool):
            raise PackageError(
                f"{MANIFEST_FILE}: expected '{name}' to be {expected.__name__}, got {type(value).__name__}"
            )
    return fields


def _open(path: Path) -> Signature:
    # ONNX Runtime takes a while to load, and only publishing needs it.
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    refusals = tuple(e for e in vars(state).values() if isinstance(e, type) and issubclass(e, Exception))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Nothing will be run, so weights can stay where they are: in the file.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except refusals as exc:
        raise PackageError(f"ONNX Runtime cannot open {path}: {exc}") from exc
    return read_signature(session)


def _check_features(features: list[Any], signature: Signature) -> None:
    if not all(isinstance(name, str) for name in features) or len(set(features)) != len(features):
        raise PackageError(f"{MANIFEST_FILE}: expected features to be different names, got {features!r}")
    match [spec for spec in signature.inputs if not spec.optional]:
        case [TensorSpec(shape=(_, width))]:
            if isinstance(width, int) and width != len(features):
                raise PackageError(
                    f"{MANIFEST_FILE}: expected {width} features, as wide as the input, got {len(features)}"
                )
        case _:
            raise PackageError(
                f"{MANIFEST_FILE}: features name the columns of a single two-dimensional input"
            )


def _check_samples(document: Any, signature: Signature) -> None:
    """`samples.json` is a list, `[{"inputs": {…}, "outputs": {…}, "rtol": 1e-4, "atol": 1e-5}, …]`."""
    if not isinstance(document, list) or not document:
        raise PackageError(f"{SAMPLES_FILE}: expected a list of at least one sample")
    for index, sample in enumerate(document):
        _check_sample(f"{SAMPLES_FILE}: sample {index}", sample, signature)


def _check_sample(where: str, sample: Any, signature: Signature) -> None:
    match sample:
        case {"inputs": {**inputs}, "outputs": {**outputs}, **tolerances} if outputs:
            _check_names(f"{where}: input", inputs, signature.inputs)
            _check_names(f"{where}: output", outputs, signature.outputs)
        case _:
            raise PackageError(f"{where}: expected inputs and outputs, each an object of names and values")
    for spec in signature.inputs:
        if spec.name not in inputs and not spec.optional:
            raise PackageError(f"{where}: input '{spec.name}' is missing")
    for name, value in tolerances.items():
        if name not in ("rtol", "atol") or not is_number(value) or value < 0:
            raise PackageError(
                f"{where}: expected rtol and atol, numbers of 0 or more, got {name} = {value!r}"
            )


def _check_names(where: str, values: Mapping[Any, Any], specs: Sequence[TensorSpec]) -> None:
    known = [spec.name for spec in specs]
    for name in values:
        if name not in known:
            raise PackageError(f"{where} '{name}' is none of the model's, {', '.join(known)}")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise PackageError(f"{path} is not JSON: {exc}") from exc
