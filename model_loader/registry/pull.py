"""Pulling: download a version, verify it, and replace the local package with it."""

import os
from contextlib import nullcontext
from pathlib import Path

from model_loader.errors import PackageError
from model_loader.package import (
    MANIFEST_FILE,
    SIGNATURE_FILE,
    VERIFIED_FILE,
    FileEntry,
    Package,
    hash_file,
    read_package,
    verify_package,
)
from model_loader.registry.lockfile import Lock, write_lock_on_success
from model_loader.registry.package_signing import record_verification, verify_signature
from model_loader.registry.versions import PublishedVersion, find
from model_loader.store import Store
from model_loader.store.atomic import exclusive_lock, replace_directory
from model_loader.store.transfer import Progress, Target, no_progress


def find_locked(store: Store, lock: Lock) -> PublishedVersion:
    """Return the version that `lock` names.

    Raises:
        PackageError: the version in the store has another digest.
        StoreError: the store has no such version, or cannot be reached.
    """
    published = find(store, lock.name, str(lock.version))
    if published.digest != lock.digest:
        raise PackageError(
            f"the lock names {lock.name}/{lock.version}@{lock.digest}, the store {store.url} has {published}"
        )
    return published


def pull(
    store: Store,
    published: PublishedVersion,
    output: Path,
    *,
    lock: Path | None = None,
    verify_key: Path | None = None,
    progress: Progress = no_progress,
) -> bool:
    """Download and verify a version, replace the directory `output` with it, and write the lock.

    If anything fails, neither the directory nor the lock is changed. The next pull continues with
    what this one has downloaded.

    Args:
        lock: the lock file to write; None writes none.
        verify_key: public key, PEM, that the package must be signed with.
        progress: called after each block.

    Returns:
        Whether anything was downloaded; False if `output` already is this version, unchanged.

    Raises:
        PackageError: the download is not what was published, or `output` is something other than a package.
        StoreError: the store cannot be reached, or rejects the request.
    """
    output = output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    pulled = Lock(published.manifest.name, published.manifest.version, published.digest, store.url)
    with exclusive_lock(output.parent), write_lock_on_success(lock, pulled) if lock else nullcontext():
        if _is_up_to_date(output, published, verify_key):
            _update_verification_record(output, verify_key)
            return False
        staging = output.with_name(f".{output.name}.pull")
        package = _download(staging, store, published, progress)
        if verify_key:
            verify_signature(package, verify_key)
        _update_verification_record(staging, verify_key)
        replace_directory(staging, output)
        return True


def _is_up_to_date(output: Path, published: PublishedVersion, verify_key: Path | None) -> bool:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    try:
        package = read_package(output)
    except PackageError as exc:
        raise PackageError(f"{output} is not a model package and would be overwritten: move it away") from exc
    if package.digest != published.digest:
        return False
    try:
        verify_package(output)
        if verify_key:
            verify_signature(package, verify_key)
    except PackageError:
        return False
    return True


def _update_verification_record(directory: Path, verify_key: Path | None) -> None:
    """Record that the signature was verified just now, or remove an earlier record."""
    if verify_key:
        record_verification(read_package(directory), verify_key)
    else:
        (directory / VERIFIED_FILE).unlink(missing_ok=True)


def _download(staging: Path, store: Store, published: PublishedVersion, progress: Progress) -> Package:
    """Download the files that `staging` lacks, and verify the package."""
    # A checkout can contain a link with this name; cleaning up would delete files in its target.
    if staging.is_symlink():
        staging.unlink()
    staging.mkdir(exist_ok=True)
    _remove_other_files(staging, published)
    for path in published.manifest.files:
        if not (staging / path).exists():
            _fetch(staging, store, published, path, progress)
    (staging / MANIFEST_FILE).write_bytes(published.text)
    if signature := store.read(f"{published.path}/{SIGNATURE_FILE}"):
        (staging / SIGNATURE_FILE).write_bytes(signature[0])
    return verify_package(staging)


def _fetch(staging: Path, store: Store, published: PublishedVersion, path: str, progress: Progress) -> None:
    """Download a file, after the part of it that an earlier pull has downloaded."""
    entry = published.manifest.files[path]
    partial = _partial(staging, entry)
    is_resumed = partial.exists()
    with Target(partial, path, entry.bytes, progress) as target:
        for chunk in store.chunks(f"{published.path}/{path}", target.tell()):
            target.write(chunk)
        os.fsync(target.fileno())
    if is_resumed and hash_file(partial) != entry:
        partial.unlink()
        _fetch(staging, store, published, path, progress)
        return
    (staging / path).parent.mkdir(parents=True, exist_ok=True)
    partial.rename(staging / path)


def _partial(staging: Path, entry: FileEntry) -> Path:
    """Return the path of a file while it is downloaded. It names the content, not the file."""
    return staging / f".{entry.sha256}.partial"


def _remove_other_files(staging: Path, published: PublishedVersion) -> None:
    """Remove everything but complete files of the version, and parts of its files."""
    files = published.manifest.files
    partial = {_partial(staging, entry) for entry in files.values()}
    for path in sorted(staging.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.is_symlink() or (
            path not in partial and files.get(path.relative_to(staging).as_posix()) != hash_file(path)
        ):
            path.unlink()
