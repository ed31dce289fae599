"""Packages on disk: manifests, paths, and verification."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from model_loader.errors import PackageError
from model_loader.package import (
    FileEntry,
    bare_package,
    check_path,
    encode,
    hash_file,
    is_number,
    parse_manifest,
    read_package,
    verify_package,
)
from tests import models

FILE = {"sha256": "0" * 64, "bytes": 1}
DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "name": "tiny",
    "version": 1,
    "created": "2026-01-01T00:00:00Z",
    "files": {"model.onnx": FILE},
    "inputs": [],
    "outputs": [],
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A valid package with a file in a subdirectory."""
    path = tmp_path / "package"
    (path / "weights").mkdir(parents=True)
    (path / "model.onnx").write_bytes(models.affine())
    (path / "weights/part.bin").write_bytes(b"weights/part.bin")
    files = {name: vars(hash_file(path / name)) for name in ("model.onnx", "weights/part.bin")}
    (path / "manifest.json").write_bytes(encode(DOCUMENT | {"files": files}))
    return path


def test_valid(package: Path) -> None:
    """A valid package is verified, and its digest does not depend on its location."""
    found = verify_package(package)
    assert str(found) == f"tiny/1@{found.digest}"
    shutil.copytree(package, package.with_name("copy"))
    assert verify_package(package.with_name("copy")).digest == found.digest
    assert read_package(package) == found


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "model.onnx",
            b"model.onnX",
            r"model.onnx is not what was published: expected sha256 .*, found .* of 10 bytes",
        ),
        ("weights/part.bin", b"", r"weights/part.bin is not what was published: .* found .* of 0 bytes"),
        ("weights/part.bin", None, r"weights/part.bin is missing"),
        ("weights/more.bin", b"", r"weights/more.bin is not in the manifest"),
        (".hidden", b"", r".hidden is not in the manifest"),
        (
            "manifest.json",
            None,
            r"no model package in .*package: No such file or directory \(manifest.json\)",
        ),
        ("manifest.json", b"{", r"manifest.json is not JSON"),
    ],
)
def test_changed(package: Path, name: str, content: bytes | None, message: str) -> None:
    """A changed, missing or additional file is refused by name."""
    if content is None:
        (package / name).unlink()
    else:
        (package / name).write_bytes(content)
    with pytest.raises(PackageError, match=message):
        verify_package(package)


def test_unreadable(package: Path) -> None:
    """A file that cannot be read is an error of the package, which names it."""

    def hash_unreadable(path: Path) -> FileEntry:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with pytest.raises(PackageError, match=r"tiny/1@.*: cannot read model\.onnx: Permission denied"):
        verify_package(package, hash_unreadable)


def test_link_out_of_the_package(package: Path, tmp_path: Path) -> None:
    """A link to a file outside of the package counts as missing, even if the content is right."""
    (package / "model.onnx").rename(tmp_path / "model.onnx")
    (package / "model.onnx").symlink_to(tmp_path / "model.onnx")
    with pytest.raises(PackageError, match=r"model\.onnx is missing"):
        verify_package(package)


def test_link_to_a_directory(package: Path, tmp_path: Path) -> None:
    """A link to a directory is refused: what is behind it is not verified."""
    (tmp_path / "other").mkdir()
    (package / "link").symlink_to(tmp_path / "other")
    with pytest.raises(PackageError, match="link is a symbolic link to a directory"):
        verify_package(package)


@pytest.mark.parametrize("path", ["model.onnx", "weights/part.bin", "a b", "ü", "...", ".hidden", "a..b"])
def test_path(path: str) -> None:
    """A path inside the package is valid."""
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/",
        "/a",
        "//a",
        "../a",
        "a/..",
        "a/../b",
        "./a",
        "a/.",
        "a/",
        "a//b",
        "a\\b",
        "C:a",
        "a\0",
        "a\n",
        "a\ud800",
    ],
)
def test_path_outside_the_package(path: str) -> None:
    """A path that is outside on any operating system, or has a second spelling, is refused."""
    with pytest.raises(PackageError, match="is outside of the package directory or cannot be stored"):
        check_path(path)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b"nonsense"])
def test_manifest_is_not_json(text: bytes) -> None:
    """Content that is not JSON raises PackageError, whatever the parser raises."""
    with pytest.raises(PackageError, match=r"manifest\.json is not JSON"):
        parse_manifest(text)


def test_bare_package(tmp_path: Path) -> None:
    """A single file is version 0 of a model with its name, and has the digest of the file."""
    (tmp_path / "any.onnx").write_bytes(models.affine())
    package = bare_package(tmp_path / "any.onnx")
    assert str(package) == f"any/0@sha256:{hash_file(tmp_path / 'any.onnx').sha256}"
    assert package.model_path == tmp_path / "any.onnx"
    with pytest.raises(PackageError, match=r"cannot read the model .*none.onnx: No such file or directory"):
        bare_package(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("value", "expected"), [(1, True), (0.5, True), (True, False), ("1", False), (None, False)]
)
def test_is_number(value: object, expected: bool) -> None:
    """Numbers are ints and finite floats, not booleans."""
    assert is_number(value) is expected
    assert not is_number(float("inf"))
