"""Packages on disk, and their verification against the manifest."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from model_loader.errors import PackageError
from model_loader.package.external_data import external_files
from model_loader.package.manifest import Manifest, encode, parse_manifest
from model_loader.package.manifest_fields import (
    MANIFEST_FILE,
    MODEL_FILE,
    UNLISTED_FILES,
    VERIFIED_FILE,
    FileEntry,
    check_path,
)


@dataclass(frozen=True)
class Package:
    """A package on disk, with the digest that identifies it."""

    path: Path
    manifest: Manifest
    digest: str

    @property
    def signed(self) -> bool:
        """Whether `verified.json` records that the signature of this digest was verified by the pull."""
        try:
            record = json.loads((self.path / VERIFIED_FILE).read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(record, dict) and record.get("digest") == self.digest

    def __str__(self) -> str:
        return f"{self.manifest.name}/{self.manifest.version}@{self.digest}"

    @property
    def model_path(self) -> Path:
        """Path of the ONNX file."""
        if self.path.is_file():
            return self.path
        return self.path / MODEL_FILE


def digest_of(manifest: bytes) -> str:
    """Return the digest of the package with this `manifest.json`: `sha256:…`."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def hash_file(path: Path) -> FileEntry:
    """Return the sha256 and size of a file, which is read as a stream."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(digest, file.tell())


HashFile: TypeAlias = Callable[[Path], FileEntry]


def read_package(path: Path) -> Package:
    """Read the manifest of the package in the directory `path`, without verifying its files.

    Raises:
        PackageError: the manifest cannot be read, or is invalid.
    """
    try:
        text = (path / MANIFEST_FILE).read_bytes()
    except OSError as exc:
        raise PackageError(f"no model package in {path}: {exc.strerror} ({MANIFEST_FILE})") from exc
    return Package(path, parse_manifest(text, str(path / MANIFEST_FILE)), digest_of(text))


def verify_package(path: Path, hash_file: HashFile = hash_file) -> Package:
    """Verify every file of the package in the directory `path` against its manifest.

    Args:
        path: directory of the package.
        hash_file: returns the sha256 and size of a file.

    Raises:
        PackageError: a file is missing, cannot be read, differs, or is not listed.
    """
    package = read_package(path)
    for name, expected in package.manifest.files.items():
        file = path / name
        if not file.is_file() or not file.resolve().is_relative_to(path.resolve()):
            raise PackageError(f"{package}: {name} is missing")
        try:
            found = hash_file(file)
        except OSError as exc:
            raise PackageError(f"{package}: cannot read {name}: {exc.strerror}") from exc
        if found != expected:
            raise PackageError(
                f"{package}: {name} is not what was published: expected sha256 {expected.sha256[:12]}… of "
                f"{expected.bytes} bytes, found {found.sha256[:12]}… of {found.bytes} bytes"
            )
    for name in external_files(path / MODEL_FILE):
        if name not in package.manifest.files:
            raise PackageError(f"{package}: {MODEL_FILE} loads {name!r}, which is not in the manifest")
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_symlink() and file.is_dir():
            raise PackageError(f"{package}: {name} is a symbolic link to a directory")
        if not file.is_dir() and name not in package.manifest.files and name not in UNLISTED_FILES:
            raise PackageError(f"{package}: {name} is not in the manifest")
    return package


def bare_package(path: Path, hash_file: HashFile = hash_file) -> Package:
    """Return a single `.onnx` file, and its external data files, as a package of version 0.

    Its digest is the sha256 of the file or, with external data, of the list of all files.

    Args:
        path: of the file.
        hash_file: returns the sha256 and size of a file.

    Raises:
        PackageError: a file cannot be read, or the file is not an ONNX model.
    """
    external = external_data(path)
    try:
        files = {name: hash_file(path.parent / name) for name in (path.name, *external)}
    except OSError as exc:
        raise PackageError(f"cannot read {exc.filename}: {exc.strerror}") from exc
    digest = f"sha256:{files[path.name].sha256}"
    if external:
        digest = digest_of(encode({name: vars(entry) for name, entry in files.items()}))
    return Package(path, Manifest(name=path.stem, version=0, created="", files=files), digest)


def external_data(model: Path) -> list[str]:
    """Return the paths of a model's external data files, relative to its directory, sorted.

    Raises:
        PackageError: one is missing, outside of the directory, or cannot be part of a package.
    """
    names = external_files(model)
    for name in names:
        where = f"{model}: external data {name!r:.100}"
        try:
            check_path(name)
        except PackageError as exc:
            raise PackageError(f"{where}: {exc}") from exc
        if name in UNLISTED_FILES:
            raise PackageError(f"{where} has the name of a file that no manifest lists: export it again")
        if not (model.parent / name).resolve().is_relative_to(model.parent.resolve()):
            raise PackageError(f"{where} is outside of the directory of the model")
        if not (model.parent / name).is_file():
            raise PackageError(
                f"{where} is missing: copy it next to the model under this name, or export the model again"
            )
    return names
