"""A snapshot on disk: labelled rows of production, frozen.

    train.parquet    the older rows: id, row, time, the features, label, version
    test.parquet     the newest rows, held out
    snapshot.json    the query that made them, what it read, and the sha256 of both

The digest of a snapshot is the sha256 of `snapshot.json`. The file has no time of its creation: the same
query on the same data gives the same digest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError, SnapshotError
from model_loader.package import digest_of, hash_file, parse_json
from model_loader.package.manifest_fields import SHA256

SNAPSHOT_FILE = "snapshot.json"
TRAIN_FILE, TEST_FILE = "train.parquet", "test.parquet"
FILES = (TRAIN_FILE, TEST_FILE)
# Columns of the files beside the features.
KEY_COLUMNS = ("id", "row", "time", "label", "version")
SCHEMA = 1


@dataclass(frozen=True)
class SnapshotFile:
    """Hash, size and rows of a file, as in `snapshot.json`."""

    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Snapshot:
    """A snapshot whose files have been verified.

    Attributes:
        name: of the model.
        metric: of the feedback that is the column `label`.
        since, until: the time of the predictions, RFC 3339; `until` is not included.
        files: name → what `snapshot.json` says of it.
        digest: `sha256:…` of `snapshot.json`.
        document: the whole JSON document.
    """

    directory: Path
    name: str
    metric: str
    since: str
    until: str
    files: Mapping[str, SnapshotFile]
    digest: str
    document: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Number of rows of both files."""
        return sum(file.rows for file in self.files.values())

    def reference(self) -> dict[str, Any]:
        """Return what the manifest of a model says of a snapshot that it was trained on."""
        return {"digest": self.digest, "since": self.since, "until": self.until, "rows": self.rows}


def verify(directory: Path) -> Snapshot:
    """Verify the files of a snapshot against its `snapshot.json`.

    Raises:
        SnapshotError: a file is missing or was changed, or `snapshot.json` is invalid; the message names the
            file, what was expected, and what it is.
    """
    snapshot = read(directory)
    for name, expected in snapshot.files.items():
        try:
            found = hash_file(directory / name)
        except OSError as exc:
            raise SnapshotError(f"{directory / name}: {exc.strerror}") from exc
        if found.sha256 != expected.sha256:
            raise SnapshotError(
                f"{directory / name} was changed: expected sha256 {expected.sha256} and {expected.bytes} "
                f"bytes, got {found.sha256} and {found.bytes}"
            )
    return snapshot


def read(directory: Path) -> Snapshot:
    """Read `snapshot.json` without verifying the other files.

    Raises:
        SnapshotError: it cannot be read, or is invalid.
    """
    path = directory / SNAPSHOT_FILE
    try:
        content = path.read_bytes()
        document = parse_json(content, str(path))
    except OSError as exc:
        raise SnapshotError(f"no snapshot in {directory}: {exc.strerror} ({SNAPSHOT_FILE})") from exc
    except PackageError as exc:
        raise SnapshotError(str(exc)) from exc
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise SnapshotError(f"{path}: expected an object with the schema {SCHEMA}")
    name, metric, since, until = (
        _text(path, document, name) for name in ("name", "metric", "since", "until")
    )
    for key in ("since", "until"):
        if not is_time(document[key]):
            raise SnapshotError(f"{path}: expected '{key}' to be a time, got {document[key]!r:.80}")
    files = document.get("files")
    if not isinstance(files, dict) or sorted(files) != sorted(FILES):
        raise SnapshotError(f"{path}: expected files to have {', '.join(FILES)}, got {files!r:.80}")
    entries = {name: _file(path, name, entry) for name, entry in files.items()}
    return Snapshot(directory, name, metric, since, until, entries, digest_of(content), document)


def is_time(value: Any) -> bool:
    """Return whether a value is a time in RFC 3339, with its zone."""
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _text(path: Path, document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise SnapshotError(f"{path}: expected '{name}' to be a text, got {value!r:.80}")
    return value


def _file(path: Path, name: str, entry: Any) -> SnapshotFile:
    match entry:
        case {"sha256": str(sha256), "bytes": int(size), "rows": int(rows)} if SHA256.fullmatch(sha256):
            return SnapshotFile(sha256, size, rows)
    raise SnapshotError(
        f"{path}: expected files['{name}'] to have sha256, bytes and rows, got {entry!r:.100}"
    )
