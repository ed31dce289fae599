"""A directory that somebody wants to publish, checked before a byte of it leaves."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError
from model_loader.package import (
    ABOUT,
    BASELINE_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    SAMPLES_FILE,
    FileEntry,
    ModelIO,
    check_features,
    check_path,
    hash_file,
    parse_metrics,
    read_model_io,
)
from model_loader.package.baseline import parse_baseline
from model_loader.package.custom_ops import explain, register_extensions
from model_loader.package.samples import parse_samples
from model_loader.registry.description import check_samples

# What a trainer may say in a draft `manifest.json`, and what publishing says in its place.
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
class Candidate:
    """What will be published.

    Attributes:
        files: path within the directory → its hash and size.
        signature: what the model takes and gives.
        draft: what the trainer said in `manifest.json`.
    """

    directory: Path
    files: dict[str, FileEntry]
    signature: ModelIO
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
    features = draft.get("features", [])
    if "features" in draft:
        check_features(features, signature)
    parse_metrics(draft)
    if SAMPLES_FILE in files:
        path = directory / SAMPLES_FILE
        samples = parse_samples(path.read_bytes(), str(path))
        if not samples:
            raise PackageError(f"{path}: expected a list of at least one sample")
        if not draft.get("transformed"):
            check_samples(samples, signature)
    if BASELINE_FILE in files:
        inputs = {spec.name for spec in signature.inputs}
        outputs = {spec.name for spec in signature.outputs}
        parse_baseline(_read_json(directory / BASELINE_FILE), inputs | set(features), outputs)
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
    return [path for path in paths if path not in ABOUT]


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
        if type(value) is not expected:
            raise PackageError(
                f"{MANIFEST_FILE}: expected '{name}' to be {expected.__name__}, got {type(value).__name__}"
            )
    return fields


def _open(path: Path) -> ModelIO:
    # ONNX Runtime takes a while to load, and only publishing needs it.
    import onnxruntime

    from model_loader.package.ort_errors import ORT_ERRORS

    options = onnxruntime.SessionOptions()
    register_extensions(options)
    options.log_severity_level = 4
    # Nothing will be run, so weights can stay where they are: in the file.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as exc:
        raise PackageError(f"ONNX Runtime cannot open {path}: {explain(exc)}") from exc
    return read_model_io(session)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise PackageError(f"{path} is not JSON: {exc}") from exc
