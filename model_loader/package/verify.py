"""Packages on disk, and their verification against the manifest."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from model_loader.errors import PackageError
from model_loader.package.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    UNLISTED_FILES,
    VERIFIED_FILE,
    FileEntry,
    Manifest,
    parse_manifest,
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


def read_package(path: Path) -> Package:
    """Read the manifest of the package in the directory `path`, without verifying its files.

    Raises:
        PackageError: the manifest cannot be read, or is invalid.
    """
    try:
        text = (path / MANIFEST_FILE).read_bytes()
    except OSError as exc:
        raise PackageError(f"no model package in {path}: {exc.strerror} ({MANIFEST_FILE})") from exc
    return Package(path, parse_manifest(text), digest_of(text))


def verify_package(path: Path) -> Package:
    """Verify every file of the package in the directory `path` against its manifest.

    Raises:
        PackageError: a file is missing, differs, or is not listed.
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
        if not file.is_dir() and name not in package.manifest.files and name not in UNLISTED_FILES:
            raise PackageError(f"{package}: {name} is not in the manifest")
    return package


def bare_package(path: Path) -> Package:
    """Return a single `.onnx` file as a package: version 0, the file's own digest, and no other metadata.

    Raises:
        PackageError: the file cannot be read.
    """
    try:
        entry = hash_file(path)
    except OSError as exc:
        raise PackageError(f"cannot read the model {path}: {exc.strerror}") from exc
    manifest = Manifest(name=path.stem, version=0, created="", files={path.name: entry})
    return Package(path, manifest, f"sha256:{entry.sha256}")
