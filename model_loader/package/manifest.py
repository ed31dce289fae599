"""`manifest.json`: the description of a package."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, TypeGuard, TypeVar

from model_loader.errors import PackageError

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
SAMPLES_FILE = "samples.json"
SCHEMA_FILE = "schema.json"
BASELINE_FILE = "baseline.json"
SIGNATURE_FILE = "model.sig"
VERIFIED_FILE = "verified.json"
# Files of a package that its manifest does not list: the manifest itself, and files that refer to its digest.
UNLISTED_FILES = frozenset({MANIFEST_FILE, SIGNATURE_FILE, VERIFIED_FILE})
T = TypeVar("T")
SCHEMA = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class FileEntry:
    """Hash and size of a file, as in the manifest."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`, as far as it is used by programs.

    Attributes:
        files: path within the package → its hash and size.
        features: column names of a single two-dimensional input, or None.
        classes: names of the classes, or None.
        metrics: name → number, from the evaluation.
        transformed: whether the samples name the transform's inputs and outputs instead of the graph's.
        trained: when the training finished; if unknown, when the package was published.
        document: the whole JSON document.
    """

    name: str
    version: int
    created: str
    files: Mapping[str, FileEntry]
    inputs: tuple[Mapping[str, Any], ...] = ()
    outputs: tuple[Mapping[str, Any], ...] = ()
    features: tuple[str, ...] | None = None
    classes: tuple[Any, ...] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    trained: datetime | None = None
    transformed: bool = False
    document: Mapping[str, Any] = field(default_factory=dict)


def check_path(path: str) -> str:
    """Return `path` if it stays inside a package directory on every operating system.

    Raises:
        PackageError: it is absolute, or has `..`, a backslash, a drive or an unprintable character.
    """
    parts = PurePosixPath(path).parts
    if (
        not parts
        or path != "/".join(parts)
        or any(part in ("..", ".") for part in parts)
        or path.startswith("/")
        or re.search(r'[\\:*?"<>|]', path)
        or not path.isprintable()
    ):
        raise PackageError(f"path {path!r} is outside of the package directory or cannot be stored")
    return path


def is_number(value: Any) -> TypeGuard[int | float]:
    """Return whether a value read from JSON or TOML is a finite number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer that is too large for a float
        return False


def encode(document: Mapping[str, Any]) -> bytes:
    """Encode a document as JSON, as it is written to disk and to the store.

    Raises:
        PackageError: it has a number that JSON does not have, such as NaN.
    """
    try:
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except ValueError as exc:
        raise PackageError(f"cannot be written as JSON: {exc}") from exc


def parse_manifest(text: bytes) -> Manifest:
    """Parse the bytes of a `manifest.json`.

    Raises:
        PackageError: the content is not a manifest of schema 1; the message names the field.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise PackageError(f"{MANIFEST_FILE} is not JSON: {exc}") from exc
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else document
        raise PackageError(f"{MANIFEST_FILE}: expected schema {SCHEMA}, got {str(found)[:40]!r}")
    name = _field(document, "name", str)
    if not NAME.fullmatch(name):
        raise PackageError(f"{MANIFEST_FILE}: name {name!r} does not match {NAME.pattern}")
    version = _field(document, "version", int)
    if version < 1:
        raise PackageError(f"{MANIFEST_FILE}: expected a version of 1 or more, got {version}")
    files = {check_path(path): _entry(path, entry) for path, entry in _field(document, "files", dict).items()}
    if MODEL_FILE not in files or UNLISTED_FILES & files.keys():
        raise PackageError(
            f"{MANIFEST_FILE}: files must list {MODEL_FILE}, and none of {', '.join(sorted(UNLISTED_FILES))}"
        )
    features = document.get("features")
    if features and not all(isinstance(name, str) for name in _field(document, "features", list)):
        raise PackageError(f"{MANIFEST_FILE}: expected 'features' to be names, got {features!r}")
    classes = document.get("classes")
    return Manifest(
        name=name,
        version=version,
        created=_field(document, "created", str),
        trained=_trained(document),
        transformed=document.get("transformed") is True,
        files=files,
        inputs=tuple(_field(document, "inputs", list)),
        outputs=tuple(_field(document, "outputs", list)),
        features=tuple(_field(document, "features", list)) if features else None,
        classes=tuple(_field(document, "classes", list)) if classes else None,
        metrics=parse_metrics(document),
        document=document,
    )


def _field(document: Mapping[str, Any], name: str, expected: type[T]) -> T:
    value = document.get(name)
    if not isinstance(value, expected) or isinstance(value, bool):
        got = "nothing" if value is None else type(value).__name__
        raise PackageError(f"{MANIFEST_FILE}: expected '{name}' to be {expected.__name__}, got {got}")
    return value


def _trained(document: Mapping[str, Any]) -> datetime:
    training = document.get("training") or {}
    if not isinstance(training, dict):
        raise PackageError(f"{MANIFEST_FILE}: expected 'training' to be an object, got {training!r}")
    created = _time(document.get("created"))
    return _time(training["finished"]) if training.get("finished") else created


def _time(value: Any) -> datetime:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError as exc:
        raise PackageError(f"{MANIFEST_FILE}: expected a time in RFC 3339, got {value!r}") from exc


def parse_metrics(document: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics in a manifest; empty if it has none.

    Raises:
        PackageError: a metric is not a finite number.
    """
    metrics = _field({"metrics": {}, **document}, "metrics", dict)
    for name, value in metrics.items():
        if not is_number(value):
            raise PackageError(
                f"{MANIFEST_FILE}: expected metrics['{name}'] to be a finite number, got {value!r}"
            )
    return metrics


def _entry(path: str, entry: Any) -> FileEntry:
    match entry:
        case {"sha256": str(sha256), "bytes": int(size)} if re.fullmatch("[0-9a-f]{64}", sha256):
            return FileEntry(sha256, size)
    raise PackageError(f"{MANIFEST_FILE}: expected files['{path}'] to have sha256 and bytes, got {entry!r}")
