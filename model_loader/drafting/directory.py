"""The directory of a draft: whether it may be replaced, and its files."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from model_loader.errors import DraftError
from model_loader.package import BASELINE_FILE, MANIFEST_FILE, MODEL_FILE, SAMPLES_FILE, SCHEMA_FILE
from model_loader.package.external_data import external_files
from model_loader.package.json_file import read_json
from model_loader.package.manifest_fields import PUBLISHED_FIELDS
from model_loader.store.atomic import replace_directory

DRAFT_FILES = frozenset({MODEL_FILE, MANIFEST_FILE, SAMPLES_FILE, SCHEMA_FILE, BASELINE_FILE})

# Beside the versions of a model in a store that is a directory: model_loader.registry.ledger.
LEDGER_FILE = "ledger.jsonl"


def check_directory(out: Path) -> None:
    """Refuse a directory that has anything but a draft that was written here.

    Raises:
        DraftError: the message names the file.
        PackageError: its manifest cannot be read.
    """
    if (out.resolve().parent / LEDGER_FILE).exists():
        raise DraftError(f"{out} is in a store, which only publish may write: give another directory")
    if not out.exists():
        return
    if not out.is_dir():
        raise DraftError(f"{out} is a file: give a directory for the draft")
    # First, because a directory that is given by mistake may have many files.
    if any(out.iterdir()) and not _is_former_draft(out):
        raise DraftError(
            f"{out} is not empty, and was not written by draft: give another directory, or empty it"
        )
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    known = DRAFT_FILES | {*(external_files(out / MODEL_FILE) if MODEL_FILE in files else ())}
    if other := sorted(files - known):
        raise DraftError(
            f"{out} has {other[0]}, which is not part of a draft: move it, or give another directory"
        )


def write_directory(model: Path, documents: Mapping[str, Any], out: Path) -> tuple[str, ...]:
    """Write the files beside `out`, and then replace it in one step.

    Args:
        documents: name of a file → its content as JSON.

    Returns:
        the paths in the directory.

    Raises:
        DraftError: a file system error; `out` is unchanged.
    """
    data_files = external_files(model)
    out = out.resolve()
    temporary = out.with_name(f".{out.name}.{uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        shutil.copyfile(model, temporary / MODEL_FILE)
        for name in data_files:
            _link(model.parent / name, temporary / name)
        for name, document in documents.items():
            text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
            (temporary / name).write_text(text + "\n", encoding="utf-8")
        replace_directory(temporary, out)
    except OSError as exc:
        raise DraftError(f"cannot write {out}: {exc.strerror}") from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return (MODEL_FILE, *data_files, *documents)


def _is_former_draft(out: Path) -> bool:
    """Return whether a directory has a manifest as it is written here, and is not published."""
    manifest = out / MANIFEST_FILE
    document = read_json(manifest) if manifest.is_file() else None
    match document:
        case {"data": {"columns": [*_]}, **others}:
            return not PUBLISHED_FIELDS.keys() & others.keys()
    return False


def _link(source: Path, target: Path) -> None:
    """Link a file, which takes no space, or copy it to another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
