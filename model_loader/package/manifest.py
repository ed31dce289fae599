"""`manifest.json`: the description of a package."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from model_loader.errors import PackageError
from model_loader.package.json_file import parse_json
from model_loader.package.manifest_fields import (
    DRAFT_FIELDS,
    MANIFEST_FILE,
    OPTIONAL,
    PUBLISHED_FIELDS,
    FileEntry,
    check_fields,
    check_files,
)


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


def encode(document: Mapping[str, Any]) -> bytes:
    """Encode a document as JSON, as it is written to disk and to the store.

    Raises:
        PackageError: it has a number that JSON does not have, such as NaN, or a text that is not Unicode.
    """
    try:
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except ValueError as exc:
        raise PackageError(f"cannot be written as JSON: {exc}") from exc


def parse_manifest(text: bytes, source: str = MANIFEST_FILE) -> Manifest:
    """Parse the bytes of a published `manifest.json`.

    Args:
        source: the name of the manifest in messages.

    Raises:
        PackageError: the content is not a manifest of schema 1; the message names the field.
    """
    document = parse_json(text, source)
    if not isinstance(document, dict):
        raise PackageError(f"{source}: expected an object, got {type(document).__name__}")
    # The schema first: a later one may have other fields.
    for name in (*PUBLISHED_FIELDS, "name"):
        if name not in document and name not in OPTIONAL:
            expected, _ = {**PUBLISHED_FIELDS, **DRAFT_FIELDS}[name]
            raise PackageError(f"{source}: expected '{name}' to be {expected}, got nothing")
        if name == "schema":
            check_fields({name: document[name]}, PUBLISHED_FIELDS, source)
    check_fields(document, {**PUBLISHED_FIELDS, **DRAFT_FIELDS}, source)
    files = check_files(document["files"], source)
    for path in document.get("assets", []):
        if path not in files:
            raise PackageError(f"{source}: assets names {path!r:.100}, which files does not list")
    finished = document.get("training", {}).get("finished")
    return manifest_of(
        document, files, document["version"], datetime.fromisoformat(finished or document["created"])
    )


def manifest_of(
    document: Mapping[str, Any], files: Mapping[str, FileEntry], version: int, trained: datetime | None
) -> Manifest:
    """Return the manifest with the fields of a document that has been checked."""
    features, classes = document.get("features"), document.get("classes")
    return Manifest(
        name=document["name"],
        version=version,
        created=document.get("created", ""),
        files=files,
        inputs=tuple(document.get("inputs", ())),
        outputs=tuple(document.get("outputs", ())),
        features=tuple(features) if features else None,
        classes=tuple(classes) if classes else None,
        metrics=document.get("metrics", {}),
        trained=trained,
        transformed=document.get("transformed", False),
        document=document,
    )
