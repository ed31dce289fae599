"""The files of a package compared with its manifest, its samples, and its signature."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_loader.errors import NotFoundError, PackageError
from model_loader.package import MANIFEST_FILE, SAMPLES_FILE, SIGNATURE_FILE, FileEntry, read_package
from model_loader.registry.package_signing import verify_signature
from model_loader.store import Store
from monitor.lineage.links import Link, Problem, absent, checked, compare, counted, unavailable
from monitor.lineage.published import Published


@dataclass(frozen=True)
class Contents:
    """A downloaded package.

    Attributes:
        directory: with the files as the store has them.
        problems: files that are missing, or differ from the manifest.
        is_signed: whether the store has a signature.
    """

    directory: Path
    problems: tuple[Problem, ...]
    is_signed: bool


@contextmanager
def downloaded(models: Store, published: Published) -> Iterator[Contents]:
    """Download a package into a temporary directory, and compare each file with the manifest.

    Raises:
        StoreError: the store cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="scoring-lineage-") as temporary:
        directory = Path(temporary) / "package"
        directory.mkdir()
        problems: list[Problem] = []
        for name, expected in published.manifest.files.items():
            what = f"{published.path}/{name}"
            try:
                found = _fetch(models, what, directory / name)
            except NotFoundError:
                problems.append(Problem(what, f"a file of sha256 {expected.sha256}", "no such file"))
                continue
            problems += compare(what, f"sha256 {expected.sha256}", f"sha256 {found.sha256}")
        (directory / MANIFEST_FILE).write_bytes(
            (models.read(f"{published.path}/{MANIFEST_FILE}") or (b"",))[0]
        )
        signature = models.read(f"{published.path}/{SIGNATURE_FILE}")
        if signature:
            (directory / SIGNATURE_FILE).write_bytes(signature[0])
        yield Contents(directory, tuple(problems), signature is not None)


def samples_link(published: Published, contents: Contents) -> Link:
    """Return the link of the package's files, among them the samples that prove its outputs."""
    files = published.manifest.files
    count = _count_samples(contents.directory / SAMPLES_FILE) if SAMPLES_FILE in files else 0
    text = counted(len(files), "file") + (", " if contents.problems else " as in the manifest, ")
    text += f"with {counted(count, 'sample')}" if count else "without samples"
    facts = {"samples": count, "files": {name: entry.sha256 for name, entry in files.items()}}
    return checked("samples", text, facts, contents.problems)


def signature_link(contents: Contents, key: Path | None) -> Link:
    """Return the link of the model's signature.

    Args:
        key: public key, PEM; None: MODEL_VERIFY_KEY, or else model.pub if it exists.
    """
    key = key or _default_key()
    if key is None:
        if not contents.is_signed:
            return absent("signature", "not signed, and no key asks for it")
        return unavailable(
            "signature", "signed, but there is no key to verify it with: give --verify-key FILE"
        )
    facts = {"key": str(key)}
    try:
        verify_signature(read_package(contents.directory), key)
    except PackageError as exc:
        if not key.is_file() or "not installed" in str(exc):
            return unavailable("signature", str(exc))
        problem = Problem("model.sig", f"a signature of this package by {key}", str(exc))
        return checked("signature", "", facts, [problem])
    return checked("signature", f"signed, by {key}", facts)


def _fetch(models: Store, name: str, target: Path) -> FileEntry:
    """Download a file, and return its hash and size."""
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        for chunk in models.chunks(name):
            digest.update(chunk)
            file.write(chunk)
        return FileEntry(digest.hexdigest(), file.tell())


def _count_samples(path: Path) -> int:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return 0
    return len(document) if isinstance(document, list) else 0


def _default_key() -> Path | None:
    if key := os.environ.get("MODEL_VERIFY_KEY"):
        return Path(key)
    return Path("model.pub") if Path("model.pub").is_file() else None
