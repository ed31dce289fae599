"""Signatures of whole packages, in the format of OpenSSF Model Signing, with elliptic curve keys.

https://github.com/ossf/model-signing-spec
https://sigstore.github.io/model-transparency

Only publishing and pulling need the library (`requirements-build.txt`); the service's image does not have it.
It reads `verified.json`, the record in a package that its signature was verified when it was pulled.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError
from model_loader.package import MANIFEST_FILE, SIGNATURE_FILE, VERIFIED_FILE, Package, encode

# Far above the size of any real signature, which lists every file with its hash.
MAX_SIGNATURE_BYTES = 16 * 1024 * 1024


def check_key(key: Path) -> None:
    """Check that `key` can sign, before a version is claimed and uploaded.

    Raises:
        PackageError: the key cannot be read or cannot sign, or the library is missing.
    """
    _verification_record("", key)
    signing = _library("signing")
    with wrap_errors(f"cannot sign with {key}"):
        _signer(signing, key)


def sign(files: Mapping[str, Path], manifest: bytes, key: Path, directory: Path) -> bytes:
    """Sign the package that consists of `files` and of `manifest`.

    Args:
        files: path within the package → the file.
        manifest: the bytes of its `manifest.json`, which is not among the files.
        key: private key, PEM; MODEL_SIGN_KEY_PASSWORD has its password, if any.
        directory: on the file system of the files, to assemble the package in.

    Returns:
        The content of `model.sig`.

    Raises:
        PackageError: the key cannot be read, or cannot sign.
    """
    signing, hashing = _library("signing"), _library("hashing")
    with _assembled_package(files, manifest, directory) as package, wrap_errors(f"cannot sign with {key}"):
        config = _signer(signing, key)
        config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False))
        signature = package.parent / SIGNATURE_FILE
        config.sign(package, signature)
        return signature.read_bytes()


def _signer(signing: Any, key: Path) -> Any:
    password = os.environ.get("MODEL_SIGN_KEY_PASSWORD")
    return signing.Config().use_elliptic_key_signer(
        private_key=key, password=password.encode() if password else None
    )


@contextmanager
def _assembled_package(files: Mapping[str, Path], manifest: bytes, directory: Path) -> Iterator[Path]:
    """Assemble the package as it will be pulled, below `directory`, with hard links."""
    with tempfile.TemporaryDirectory(dir=directory, prefix=".sign.") as temporary:
        package = Path(temporary) / "package"
        for name, file in files.items():
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, package / name)
            except OSError:  # a file system without hard links
                shutil.copy2(file, package / name)
        (package / MANIFEST_FILE).write_bytes(manifest)
        yield package


def verify_signature(package: Package, key: Path) -> None:
    """Verify the signature of a package on disk.

    Args:
        package: verified against its manifest.
        key: public key, PEM.

    Raises:
        PackageError: there is no signature, or it was made with another key or for other files.
    """
    _verification_record("", key)
    verifying, hashing = _library("verifying"), _library("hashing")
    signature = package.path / SIGNATURE_FILE
    if not signature.is_file():
        raise PackageError(f"{package} is not signed: MODEL_VERIFY_KEY requires a signature by {key}")
    if signature.stat().st_size > MAX_SIGNATURE_BYTES:
        raise PackageError(f"{package} is not signed by {key}: its signature is too large to be one")
    with wrap_errors(f"{package} is not signed by {key}"):
        ignored = hashing.Config().set_ignored_paths(
            paths=[SIGNATURE_FILE, VERIFIED_FILE], ignore_git_paths=False
        )
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
        config.set_hashing_config(ignored).verify(package.path, signature)


def record_verification(package: Package, key: Path) -> None:
    """Write `verified.json` into the package: its signature was verified with `key`."""
    (package.path / VERIFIED_FILE).write_bytes(encode(_verification_record(package.digest, key)))


def _verification_record(digest: str, key: Path) -> dict[str, str]:
    try:
        return {"digest": digest, "key": f"sha256:{hashlib.sha256(key.read_bytes()).hexdigest()}"}
    except OSError as exc:
        raise PackageError(f"cannot read the key {key}: {exc.strerror}") from exc


def _library(module: str) -> Any:
    try:
        return __import__(f"model_signing.{module}", fromlist=[module])
    except ModuleNotFoundError as exc:
        raise PackageError(f"{exc.name} is not installed: pip install -r requirements-build.txt") from exc


@contextmanager
def wrap_errors(message: str) -> Iterator[None]:
    """Raise the library's exceptions as PackageError; `message` precedes their own."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from google.protobuf.json_format import Error as JsonFormatError

    # The library wraps no exceptions: these are raised by its parsers and by cryptography.
    errors = (ValueError, TypeError, LookupError, AttributeError, OSError, JsonFormatError)
    try:
        yield
    except (*errors, InvalidSignature, UnsupportedAlgorithm) as exc:
        raise PackageError(f"{message}: {str(exc) or type(exc).__name__}") from exc
