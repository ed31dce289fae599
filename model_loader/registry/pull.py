"""Gets a release from a store, proves that it is what was published, and puts it in its place."""

import os
from contextlib import nullcontext
from pathlib import Path

from model_loader.errors import PackageError
from model_loader.package import (
    MANIFEST_FILE,
    SIGNATURE_FILE,
    VERIFIED_FILE,
    Package,
    hash_file,
    read_package,
    verify_package,
)
from model_loader.registry.lockfile import Lock, writing
from model_loader.registry.package_signing import note_verified, verify_signature
from model_loader.registry.versions import Release, find
from model_loader.store import Store
from model_loader.store.atomic import exclusive_lock, replace_directory
from model_loader.store.transfer import Progress, Target, silent


def find_locked(store: Store, lock: Lock) -> Release:
    """The release that `lock` names.

    Raises:
        PackageError: the store has something else under this version.
        StoreError: the store has no such version, or cannot be reached.
    """
    release = find(store, lock.name, str(lock.version))
    if release.digest != lock.digest:
        raise PackageError(
            f"the lock says {lock.name}/{lock.version}@{lock.digest}, the store {store.url} has {release}"
        )
    return release


def pull(
    store: Store,
    release: Release,
    output: Path,
    *,
    lock: Path | None = None,
    verify_key: Path | None = None,
    progress: Progress = silent,
) -> bool:
    """Makes the directory `output` the package `release`, and the file `lock` say so; both or neither.

    What a pull that was killed has downloaded is used again.

    Args:
        lock: None leaves no lock.
        verify_key: public key, PEM, that the package must be signed with.
        progress: told of every block.

    Returns:
        Whether anything was downloaded: not if `output` holds the release, whole, already.

    Raises:
        PackageError: what came is not what was published, or `output` holds something else than a package.
        StoreError: the store cannot be reached, or refuses.
    """
    output = output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    record = Lock(release.manifest.name, release.manifest.version, release.digest, store.url)
    with exclusive_lock(output.parent), writing(lock, record) if lock else nullcontext():
        if _holds(output, release, verify_key):
            _note(output, verify_key)
            return False
        staging = output.with_name(f".{output.name}.pull")
        package = _fill(staging, store, release, progress)
        if verify_key:
            verify_signature(package, verify_key)
        _note(staging, verify_key)
        replace_directory(staging, output)
        return True


def _holds(output: Path, release: Release, verify_key: Path | None) -> bool:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    try:
        package = read_package(output)
    except PackageError as exc:
        raise PackageError(f"{output} is not a model package and would be lost: move it away") from exc
    if package.digest != release.digest:
        return False
    try:
        verify_package(output)
        if verify_key:
            verify_signature(package, verify_key)
    except PackageError:
        return False
    return True


def _note(directory: Path, verify_key: Path | None) -> None:
    """Leaves word of a signature that was verified just now, and takes away any other."""
    if verify_key:
        note_verified(read_package(directory), verify_key)
    else:
        (directory / VERIFIED_FILE).unlink(missing_ok=True)


def _fill(staging: Path, store: Store, release: Release, progress: Progress) -> Package:
    """Makes `staging` the package `release`, verified."""
    if staging.is_symlink():  # a checkout can bring one, and whatever it leads to would be swept
        staging.unlink()
    staging.mkdir(exist_ok=True)
    _sweep(staging, release)
    for path, entry in release.manifest.files.items():
        file = staging / path
        if file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        with Target(staging, path, entry.bytes, progress) as target:
            store.download(f"{release.path}/{path}", target)
            os.fsync(target.fileno())
    (staging / MANIFEST_FILE).write_bytes(release.text)
    if signature := store.read(f"{release.path}/{SIGNATURE_FILE}"):
        (staging / SIGNATURE_FILE).write_bytes(signature[0])
    return verify_package(staging)


def _sweep(staging: Path, release: Release) -> None:
    """Leaves only whole files of `release`."""
    for path in sorted(staging.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.is_symlink() or release.manifest.files.get(
            path.relative_to(staging).as_posix()
        ) != hash_file(path):
            path.unlink()
