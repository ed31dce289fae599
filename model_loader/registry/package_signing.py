"""Signatures over a whole package, in the format of OpenSSF Model Signing, with elliptic curve keys.

https://github.com/ossf/model-signing-spec
https://sigstore.github.io/model-transparency

The library is the publisher's and the builder's (`requirements-build.txt`); what serves does not need it.
That a signature was verified is noted in the package as `verified.json`, for the service to say so.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError
from model_loader.package import MANIFEST_FILE, SIGNATURE_FILE, VERIFIED_FILE, Package, encode

# A signature names every file with its hash: some 200 bytes a file.
MAX_SIGNATURE_BYTES = 16 * 1024 * 1024


def check_key(key: Path) -> None:
    """Finds early what would fail late.

    Raises:
        PackageError: the key cannot be read, or the library is missing.
    """
    _note("", key)
    signing = _library("signing")
    with wrap_errors(f"cannot sign with {key}"):
        _signer(signing, key)


def sign(directory: Path, files: list[str], manifest: bytes, key: Path) -> bytes:
    """The signature of the package that `directory`'s `files` are with `manifest`.

    Args:
        key: private key, PEM; its password, where it has one, is in MODEL_SIGN_KEY_PASSWORD.

    Raises:
        PackageError: there is no such key, or it cannot sign.
    """
    signing, hashing = _library("signing"), _library("hashing")
    with _assembled(directory, files, manifest) as package, wrap_errors(f"cannot sign with {key}"):
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
def _assembled(directory: Path, files: list[str], manifest: bytes) -> Iterator[Path]:
    """The package as it will be pulled, beside `directory`, so that links can stand in for its files."""
    with tempfile.TemporaryDirectory(dir=directory.resolve().parent, prefix=".sign.") as temporary:
        package = Path(temporary) / "package"
        for name in files:
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(directory / name, package / name)
            except OSError:  # a file system without hard links
                shutil.copy2(directory / name, package / name)
        (package / MANIFEST_FILE).write_bytes(manifest)
        yield package


def verify_signature(package: Package, key: Path) -> None:
    """Checks the signature of the package in a directory.

    Args:
        package: its files have been checked against its manifest.
        key: public key, PEM.

    Raises:
        PackageError: there is no signature, it is another key's, or not of these files.
    """
    _note("", key)
    verifying, hashing = _library("verifying"), _library("hashing")
    signature = package.path / SIGNATURE_FILE
    if not signature.is_file():
        raise PackageError(f"{package} is not signed, and MODEL_VERIFY_KEY asks for the signature of {key}")
    if signature.stat().st_size > MAX_SIGNATURE_BYTES:
        raise PackageError(f"{package} is not signed by {key}: its signature is too large to be one")
    with wrap_errors(f"{package} is not signed by {key}"):
        ignored = hashing.Config().set_ignored_paths(
            paths=[SIGNATURE_FILE, VERIFIED_FILE], ignore_git_paths=False
        )
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
        config.set_hashing_config(ignored).verify(package.path, signature)


def note_verified(package: Package, key: Path) -> None:
    """Leaves word in the package that its signature was verified, for the service to say so."""
    (package.path / VERIFIED_FILE).write_bytes(encode(_note(package.digest, key)))


def _note(digest: str, key: Path) -> dict[str, str]:
    try:
        return {"digest": digest, "key": f"sha256:{hashlib.sha256(key.read_bytes()).hexdigest()}"}
    except OSError as exc:
        raise PackageError(f"cannot read the key {key}: {exc.strerror}") from exc


def _library(module: str) -> Any:
    try:
        return __import__(f"model_signing.{module}", fromlist=[module])
    except ModuleNotFoundError as exc:
        raise PackageError(f"{exc.name} is missing: pip install -r requirements-build.txt") from exc


@contextmanager
def wrap_errors(refusal: str) -> Iterator[None]:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from google.protobuf.json_format import Error as JsonFormatError

    # The library wraps nothing: this is what its parsers and cryptography raise.
    errors = (ValueError, TypeError, LookupError, AttributeError, OSError, JsonFormatError)
    try:
        yield
    except (*errors, InvalidSignature, UnsupportedAlgorithm) as exc:
        raise PackageError(f"{refusal}: {str(exc) or type(exc).__name__}") from exc
