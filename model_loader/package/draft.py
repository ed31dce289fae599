"""Drafts: packages that are not published yet.

A draft is a directory with `model.onnx`, whose `manifest.json` is missing or has only what a trainer writes,
or a single ONNX file. It can be served, as version 0, and published.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError
from model_loader.package.json_file import read_json
from model_loader.package.manifest import encode, manifest_of, parse_manifest
from model_loader.package.manifest_fields import (
    BASELINE_FILE,
    DRAFT_FIELDS,
    MANIFEST_FILE,
    MODEL_FILE,
    PUBLISHED_FIELDS,
    SAMPLES_FILE,
    SCHEMA,
    SCHEMA_FILE,
    UNLISTED_FILES,
    FileEntry,
    check_fields,
    check_files,
    check_path,
)
from model_loader.package.verify import HashFile, Package, digest_of, external_data, hash_file

DESCRIBING_FILES = frozenset({SAMPLES_FILE, SCHEMA_FILE, BASELINE_FILE})


@dataclass(frozen=True)
class Draft:
    """A package that is not published yet.

    Attributes:
        source: the directory, or the single file.
        model: the ONNX file, in the directory of the other files.
        files: path within the package → its hash and size.
        fields: the trainer's fields of `manifest.json`.
    """

    source: Path
    model: Path
    files: dict[str, FileEntry]
    fields: dict[str, Any]

    def path(self, name: str) -> Path:
        """Return where the file is that the package will have as `name`."""
        return self.model if name == MODEL_FILE else self.model.parent / name


def is_draft(directory: Path) -> bool:
    """Return whether a directory has a model, and no manifest that was written by publishing.

    Raises:
        PackageError: its manifest cannot be read.
    """
    if not (directory / MODEL_FILE).is_file():
        return False
    if not (directory / MANIFEST_FILE).is_file():
        return True
    return not PUBLISHED_FIELDS.keys() & _read_fields(directory).keys()


def read_draft(path: Path, hash_file: HashFile = hash_file) -> Draft:
    """Read the draft in a directory, or a single ONNX file with its external data.

    A published package can be published again as a draft of what it contains.

    Args:
        path: of the directory or file.
        hash_file: returns the sha256 and size of a file.

    Raises:
        PackageError: it has a file, or its manifest a field, that it cannot have; the message names it.
    """
    if path.is_file():
        return _with_hashes(Draft(path, path, {}, {}), [MODEL_FILE, *external_data(path)], hash_file)
    found = _list_files(path)
    if MODEL_FILE not in found:
        raise PackageError(f"no {MODEL_FILE} in {path}")
    fields = _read_fields(path)
    allowed = {MODEL_FILE, MANIFEST_FILE, *DESCRIBING_FILES, *external_data(path / MODEL_FILE)}
    if PUBLISHED_FIELDS.keys() & fields.keys():
        _check_published(path / MANIFEST_FILE)
        allowed |= UNLISTED_FILES
    fields = {name: value for name, value in fields.items() if name not in PUBLISHED_FIELDS}
    for name in fields:
        if name not in DRAFT_FIELDS:
            raise PackageError(
                f"{path / MANIFEST_FILE}: unknown field {name!r:.80}; "
                f"the fields are {', '.join(DRAFT_FIELDS)}"
            )
    check_fields(fields, DRAFT_FIELDS, str(path / MANIFEST_FILE))
    assets = fields.get("assets", [])
    for name in assets:
        if check_path(name) not in found:
            raise PackageError(f"{path / MANIFEST_FILE}: assets names {name!r}, and there is no such file")
    for name in found:
        if name not in allowed and name not in assets:
            raise PackageError(
                f"{path / name} is not part of a package: remove it or, if app/transform.py reads it, "
                f"list it under 'assets' in {MANIFEST_FILE}"
            )
    names = [name for name in found if name not in UNLISTED_FILES]
    return _with_hashes(Draft(path, path / MODEL_FILE, {}, fields), names, hash_file)


def draft_package(draft: Draft) -> Package:
    """Return a draft as a package of version 0.

    Its digest is that of the manifest that it would be published with, without what publishing reads from the
    model and from the clock.
    """
    name = draft.fields.get("name") or draft.model.resolve().parent.name
    files = {path: vars(entry) for path, entry in draft.files.items()}
    document = draft.fields | {"schema": SCHEMA, "name": name, "version": 0, "files": files}
    manifest = manifest_of(document, draft.files, 0, None)
    return Package(draft.model.parent, manifest, digest_of(encode(document)))


def _with_hashes(draft: Draft, names: list[str], hash_file: HashFile) -> Draft:
    """Return a draft with these files."""
    try:
        files = {name: hash_file(draft.path(name)) for name in names}
    except OSError as exc:
        raise PackageError(f"cannot read {exc.filename}: {exc.strerror}") from exc
    check_files({name: vars(entry) for name, entry in files.items()}, str(draft.source))
    return replace(draft, files=files)


def _list_files(directory: Path) -> list[str]:
    """List every file. One that cannot be part of a package is an error, not skipped."""
    if not directory.is_dir():
        raise PackageError(f"no directory {directory}")
    paths = []
    for file in sorted(directory.rglob("*")):
        path = check_path(file.relative_to(directory).as_posix())
        if file.is_symlink():
            raise PackageError(f"{file} is a symbolic link: replace it with what it points to")
        if file.name.startswith("."):
            raise PackageError(f"{file} is hidden: a package has only what the model needs, remove it")
        if file.is_file():
            paths.append(path)
        elif not file.is_dir():
            raise PackageError(f"{file} is not a regular file")
    return paths


def _check_published(path: Path) -> None:
    try:
        parse_manifest(path.read_bytes(), str(path))
    except PackageError as exc:
        raise PackageError(
            f"{exc}; in a draft, {', '.join(PUBLISHED_FIELDS)} are missing: publishing writes them"
        ) from exc


def _read_fields(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST_FILE
    if not os.path.lexists(path):
        return {}
    fields = read_json(path)
    if not isinstance(fields, dict):
        raise PackageError(f"{path}: expected an object, got {type(fields).__name__}")
    return fields
