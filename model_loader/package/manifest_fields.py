"""The fields of a manifest: which there are, who writes them, and what they may contain."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, TypeAlias

from model_loader.errors import PackageError
from model_loader.package.json_file import is_number

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
SAMPLES_FILE = "samples.json"
SCHEMA_FILE = "schema.json"
BASELINE_FILE = "baseline.json"
SIGNATURE_FILE = "model.sig"
VERIFIED_FILE = "verified.json"
# Files of a package that its manifest does not list: the manifest itself, and files that refer to its digest.
UNLISTED_FILES = frozenset({MANIFEST_FILE, SIGNATURE_FILE, VERIFIED_FILE})
SCHEMA = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_VERSION = 999_999_999
# Limits of Linux's file names, and of names in Blob storage together with a prefix, a name and a version.
MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 700


@dataclass(frozen=True)
class FileEntry:
    """Hash and size of a file, as in the manifest."""

    sha256: str
    bytes: int


def check_path(path: str) -> str:
    """Return `path` if it stays inside a package directory on every operating system.

    Raises:
        PackageError: it is absolute or too long, or has `..`, a backslash, a drive or an unprintable
            character.
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
        raise PackageError(f"path {path!r:.100} is outside of the package directory or cannot be stored")
    if len(path.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise PackageError(
            f"path {path!r:.40}… is too long: expected at most {MAX_NAME_BYTES} bytes for each name in it, "
            f"and {MAX_PATH_BYTES} in all"
        )
    return path


def check_files(files: Mapping[str, Any], source: str) -> dict[str, FileEntry]:
    """Return the entries of `files` in a manifest.

    Args:
        source: the name of the manifest in messages.

    Raises:
        PackageError: a path or an entry is invalid, the model is not listed or a file that is not listed in
            manifests is, or two paths cannot exist in the same directory on every operating system.
    """
    entries = {check_path(path): _entry(path, entry, source) for path, entry in files.items()}
    if MODEL_FILE not in entries:
        raise PackageError(f"{source}: files must list {MODEL_FILE}")
    folded: dict[str, str] = {}  # spelling that ignores case → path
    for path in entries:
        if path.casefold() in UNLISTED_FILES:
            raise PackageError(f"{source}: files must not list {path}")
        if (other := folded.setdefault(path.casefold(), path)) != path:
            raise PackageError(f"{source}: files lists {other!r} and {path!r}, which differ only in case")
    for path in entries:
        for parent in PurePosixPath(path).parents:
            if file := folded.get(parent.as_posix().casefold()):
                raise PackageError(f"{source}: files lists {file!r} as a file, and {path!r} below it")
    return entries


def _entry(path: str, entry: Any, source: str) -> FileEntry:
    match entry:
        case {"sha256": str(sha256), "bytes": int(size)} if SHA256.fullmatch(sha256):
            if 0 <= size < 2**63 and not isinstance(size, bool):
                return FileEntry(sha256, size)
    raise PackageError(f"{source}: expected files['{path}'] to have sha256 and bytes, got {entry!r:.100}")


def check_fields(document: Mapping[str, Any], checks: "Checks", source: str) -> None:
    """Check the fields of a manifest that are there.

    Args:
        checks: PUBLISHED_FIELDS or DRAFT_FIELDS.
        source: the name of the manifest in messages.

    Raises:
        PackageError: the message names the field, what was expected, and what it is.
    """
    for name, (expected, is_valid) in checks.items():
        if name in document and not is_valid(document[name]):
            raise PackageError(f"{source}: expected '{name}' to be {expected}, got {document[name]!r:.80}")
    for name, value in document.get("metrics", {}).items():
        if not is_number(value):
            raise PackageError(
                f"{source}: expected metrics['{name}'] to be a finite number, got {value!r:.40}"
            )
    for number, snapshot in enumerate(document.get("data", {}).get("snapshots", ())):
        if not _is_snapshot(snapshot):
            raise PackageError(
                f"{source}: expected data['snapshots'][{number}] to have digest, since, until and rows, got "
                f"{snapshot!r:.100}"
            )
    finished = document.get("training", {}).get("finished")
    if finished and not _is_time(finished):
        raise PackageError(
            f"{source}: expected training['finished'] to be a time in RFC 3339, got {finished!r:.40}"
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_different_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _are_scalars(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str | int | float) for item in value)


def _is_version(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_VERSION


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _is_data(value: Any) -> bool:
    return _is_object(value) and isinstance(value.get("snapshots", []), list)


def _is_snapshot(value: Any) -> bool:
    match value:
        case {"digest": str(digest), "since": since, "until": until, "rows": int(rows)}:
            is_digest = digest.startswith("sha256:") and SHA256.fullmatch(digest[7:]) is not None
            return is_digest and _is_time(since) and _is_time(until) and rows >= 0
    return False


def _are_specs(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_spec, value))


def _is_spec(value: Any) -> bool:
    match value:
        case {"name": str(), "datatype": str(), "shape": list(shape)}:
            return all(item is None or type(item) in (int, str) for item in shape)
        case {"name": str(), "datatype": str(), "shape": None}:
            return True
    return False


def _are_intervals(value: Any) -> bool:
    return _is_object(value) and all(map(_is_interval, value.values()))


def _is_interval(value: Any) -> bool:
    match value:
        case [low, high]:
            return is_number(low) and is_number(high) and low <= high
    return False


def _are_slices(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_slice, value))


def _is_slice(value: Any) -> bool:
    match value:
        case {"name": str(), "metrics": dict(metrics), **others}:
            return all(map(is_number, metrics.values())) and _are_rows(others)
    return False


def _are_rows(others: Mapping[Any, Any]) -> bool:
    return not others.keys() - {"rows"} and all(type(rows) is int and rows >= 0 for rows in others.values())


def _are_links(value: Any) -> bool:
    return _is_object(value) and all(
        isinstance(url, str) and re.fullmatch(r"https?://[^\s<>]+", url) for url in value.values()
    )


# Name → what the field is expected to be, and whether a value is.
Checks: TypeAlias = Mapping[str, tuple[str, Callable[[Any], bool]]]

_VERSION = (f"a whole number from 1 to {MAX_VERSION}", _is_version)
_NAME = (f"a name that matches {NAME.pattern}", lambda value: _is_text(value) and bool(NAME.fullmatch(value)))
_NAMES = ("a list of different texts", _are_different_texts)
_SPECS = ("a list of objects with name, datatype and shape", _are_specs)
_TEXT = ("a text", _is_text)
_OBJECT = ("an object", _is_object)

# What the trainer writes into a draft; all of it is optional.
DRAFT_FIELDS: Checks = {
    "name": _NAME,
    "features": _NAMES,
    "classes": ("a list of texts, numbers or booleans", _are_scalars),
    "metrics": _OBJECT,
    "data": ("an object, whose snapshots are a list", _is_data),
    "training": _OBJECT,
    "parent": _VERSION,
    "transformed": ("true or false", lambda value: isinstance(value, bool)),
    "assets": ("a list of different paths", _are_different_texts),
    "description": _TEXT,
    "intended_use": _TEXT,
    "limitations": _TEXT,
    "licence": _TEXT,
    "tags": _NAMES,
    "intervals": (
        "an object of metrics with the ends of their intervals, such as [0.91, 0.98]",
        _are_intervals,
    ),
    "slices": ("a list of objects with name, metrics and, if known, rows", _are_slices),
    "links": ("an object of names with URLs that begin with https:// or http://", _are_links),
}
# What publishing adds; all but the publisher's name is required.
PUBLISHED_FIELDS: Checks = {
    "schema": (str(SCHEMA), lambda value: type(value) is int and value == SCHEMA),
    "version": _VERSION,
    "created": ("a time in RFC 3339", _is_time),
    "files": _OBJECT,
    "inputs": _SPECS,
    "outputs": _SPECS,
    "publisher": _TEXT,
}
OPTIONAL = frozenset({"publisher"})
