"""A model package on disk: what it says of itself, and whether that is true.

A package is a directory: `model.onnx`, the external data files it names, `manifest.json`, and where the
trainer gave them `samples.json` and `baseline.json`. The manifest holds every file's sha256, so the sha256
of the manifest, the digest, names the whole package.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeGuard, TypeVar

from model_loader.errors import PackageError

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
SAMPLES_FILE = "samples.json"
BASELINE_FILE = "baseline.json"
SIGNATURE_FILE = "model.sig"
VERIFIED_FILE = "verified.json"

# Of a package, but not of its files: the digest cannot be of what names it, signs it or says so.
ABOUT = frozenset({MANIFEST_FILE, SIGNATURE_FILE, VERIFIED_FILE})

T = TypeVar("T")

SCHEMA = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

# ONNX Runtime's names of the tensor types, and the ones the Open Inference Protocol gives them.
DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float": "FP32",
    "double": "FP64",
    "string": "STRING",
    "uint4": "UINT4",
    "int4": "INT4",
    "float8e4m3fn": "FP8E4M3FN",
    "float8e4m3fnuz": "FP8E4M3FNUZ",
    "float8e5m2": "FP8E5M2",
    "float8e5m2fnuz": "FP8E5M2FNUZ",
}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: as in the ONNX graph.
        datatype: `FP32` and so on for a tensor; `seq(FP32)`, `map(INT64, FP32)`, `optional(FP32)` around one.
        shape: a number, a symbol or None (any size) a dimension; None where the model does not tell, which
            ONNX Runtime does not distinguish from a scalar.
        optional: whether a request may leave it out, as the model has a default for it.
    """

    name: str
    datatype: str
    shape: tuple[int | str | None, ...] | None
    optional: bool = False

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        spec: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": self.shape}
        return spec | {"optional": True} if self.optional else spec


class _Node(Protocol):
    name: str
    type: str
    shape: list[int | str | None]


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that tells a model's signature."""

    def get_inputs(self) -> list[_Node]: ...
    def get_outputs(self) -> list[_Node]: ...
    def get_overridable_initializers(self) -> list[_Node]: ...


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives, read from its graph."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def read_signature(session: Session) -> Signature:
    """The signature of the model in `session`.

    Raises:
        PackageError: the model uses a type that ONNX Runtime cannot feed or fetch.
    """
    return Signature(
        inputs=(
            *(_spec(node) for node in session.get_inputs()),
            *(_spec(node, optional=True) for node in session.get_overridable_initializers()),
        ),
        outputs=tuple(_spec(node) for node in session.get_outputs()),
    )


def _spec(node: _Node, *, optional: bool = False) -> TensorSpec:
    datatype = _datatype(node.type, node.name)
    shape = tuple(node.shape) or None
    return TensorSpec(node.name, datatype, shape, optional or datatype.startswith("optional("))


def _datatype(onnx_type: str, name: str) -> str:
    """`seq(map(int64,tensor(float)))` → `seq(map(INT64, FP32))`."""
    outer, _, inner = onnx_type.removesuffix(")").partition("(")
    if outer == "tensor" and inner in DATATYPES:
        return DATATYPES[inner]
    if outer in ("seq", "optional"):
        return f"{outer}({_datatype(inner, name)})"
    if outer == "map":
        key, _, value = inner.partition(",")
        if key in DATATYPES:
            return f"map({DATATYPES[key]}, {_datatype(value, name)})"
    raise PackageError(f"'{name}' has the type {onnx_type}, which cannot be served")


@dataclass(frozen=True)
class FileEntry:
    """What the manifest says of one file."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`, as far as programs act on it.

    Attributes:
        files: path within the package → its hash and size.
        features: column names of a single two-dimensional input, or None.
        classes: names of the classes, or None.
        metrics: name → number, from the evaluation.
        transformed: whether its samples are in the terms of the service's transform, not of the graph.
        trained: when the training finished or, where that is not said, when it was published.
        document: the whole manifest as JSON, with what only people read.
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


@dataclass(frozen=True)
class Package:
    """A package on disk, with the digest that names it."""

    path: Path
    manifest: Manifest
    digest: str

    @property
    def signed(self) -> bool:
        """Whether its signature was verified when it was pulled; the note of that names the digest."""
        try:
            note = json.loads((self.path / VERIFIED_FILE).read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(note, dict) and note.get("digest") == self.digest

    def __str__(self) -> str:
        return f"{self.manifest.name}/{self.manifest.version}@{self.digest}"

    @property
    def model_path(self) -> Path:
        """The ONNX file itself."""
        if self.path.is_file():
            return self.path
        return self.path / MODEL_FILE


def digest_of(manifest: bytes) -> str:
    """The digest of the model that has these bytes as its manifest: `sha256:…`."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def hash_file(path: Path) -> FileEntry:
    """The sha256 and size in bytes of a file, read as a stream."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(digest, file.tell())


def check_path(path: str) -> str:
    """`path`, if it stays inside a package directory on every system.

    Raises:
        PackageError: it is absolute, has `..`, a backslash, a drive or an unprintable character.
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
        raise PackageError(f"path {path!r} would leave the package directory or cannot be stored")
    return path


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value read from JSON or TOML is a finite number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def encode(document: Mapping[str, Any]) -> bytes:
    """A document as it is written to disk and to the store.

    Raises:
        PackageError: it has a number that JSON cannot tell.
    """
    try:
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except ValueError as exc:
        raise PackageError(f"cannot be written as JSON: {exc}") from exc


def parse_manifest(text: bytes) -> Manifest:
    """Reads the bytes of a `manifest.json`.

    Raises:
        PackageError: they are not a manifest of schema 1; the message names the field.
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
    if MODEL_FILE not in files or ABOUT & files.keys():
        raise PackageError(
            f"{MANIFEST_FILE}: files must list {MODEL_FILE}, and none of {', '.join(sorted(ABOUT))}"
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
    """The metrics in a manifest; empty where it has none.

    Raises:
        PackageError: one is not a finite number.
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


def read_package(path: Path) -> Package:
    """Reads the manifest of the package in the directory `path`, without checking the files.

    Raises:
        PackageError: there is no readable manifest.
    """
    try:
        text = (path / MANIFEST_FILE).read_bytes()
    except OSError as exc:
        raise PackageError(f"no model package in {path}: {exc.strerror} ({MANIFEST_FILE})") from exc
    return Package(path, parse_manifest(text), digest_of(text))


def verify_package(path: Path) -> Package:
    """Checks every file of the package in the directory `path` against its manifest.

    Raises:
        PackageError: a file is missing, differs, or is there without being listed.
    """
    package = read_package(path)
    for name, expected in package.manifest.files.items():
        file = path / name
        if not file.is_file() or not file.resolve().is_relative_to(path.resolve()):
            raise PackageError(f"{package}: {name} is missing")
        found = hash_file(file)
        if found != expected:
            raise PackageError(
                f"{package}: {name} is not what was published: expected sha256 {expected.sha256[:12]}… of "
                f"{expected.bytes} bytes, found {found.sha256[:12]}… of {found.bytes} bytes"
            )
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if not file.is_dir() and name not in package.manifest.files and name not in ABOUT:
            raise PackageError(f"{package}: {name} is not in the manifest")
    return package


def bare_package(path: Path) -> Package:
    """A lone `.onnx` file as a package: version 0, the file's own digest, nothing else known.

    Raises:
        PackageError: the file cannot be read.
    """
    try:
        entry = hash_file(path)
    except OSError as exc:
        raise PackageError(f"cannot read the model {path}: {exc.strerror}") from exc
    manifest = Manifest(name=path.stem, version=0, created="", files={path.name: entry})
    return Package(path, manifest, f"sha256:{entry.sha256}")
