"""Copying: published versions from one store to another, unchanged and with their numbers."""

import io
from collections import deque
from functools import partial

from model_loader.errors import ConflictError, PackageError
from model_loader.package import MANIFEST_FILE, SIGNATURE_FILE, FileEntry, encode
from model_loader.registry.ledger import Entry, Ledger, append, author, now, read_ledger
from model_loader.registry.versions import PublishedVersion, check_letter_case, find, get, version_numbers
from model_loader.store import Store
from model_loader.store.transfer import ChunkReader, Progress, no_progress, verified

ALL = "all"


def select(source: Store, name: str, version: str) -> list[PublishedVersion]:
    """Return the versions to copy, lowest first.

    Args:
        version: `all`, or one version as in `find`.

    Raises:
        NotFoundError: there is no such version.
        PackageError: a manifest is invalid, or differs from what the ledger recorded.
    """
    if version != ALL:
        return [find(source, name, version)]
    ledger = read_ledger(source, name)
    return [get(source, ledger, number) for number in version_numbers(source, name)]


def copy(source: Store, target: Store, published: PublishedVersion, progress: Progress = no_progress) -> bool:
    """Copy a version: its files, its signature, and its manifest last, which publishes it in the target.

    If anything fails, the version is not published in the target, and the next copy continues with the files
    that this one has copied.

    Returns:
        Whether anything was copied; False if the target has the version already.

    Raises:
        ConflictError: the target has another package with this number, or somebody is publishing it.
        PackageError: a file is not what was published.
        StoreError: a store cannot be reached, or rejects the request.
    """
    check_letter_case(target, published.manifest.name)
    ledger = read_ledger(source, published.manifest.name)
    found, _ = target.read(f"{published.path}/{MANIFEST_FILE}") or (None, None)
    if found is not None and found != published.text:
        raise _conflict(target, published, "another package with this number")
    if found is None:
        _claim(source, target, published)
        _copy_files(source, target, published, progress)
        _publish(target, published)
    _record(source, ledger, target, published)
    return found is None


def _claim(source: Store, target: Store, published: PublishedVersion) -> None:
    """Reserve the version's number in the target, unless an earlier copy of this version did."""
    path = f"{published.manifest.name}/claims/{published.manifest.version}.json"
    claim = {"by": author(), "time": now(), "reason": _reason(source), "digest": published.digest}
    try:
        target.write(path, encode(claim), None)
    except ConflictError as exc:
        content, _ = target.read(path) or (b"", "")
        if published.digest.encode() not in content:
            raise _conflict(target, published, "a claim on this number by another publisher") from exc


def _copy_files(source: Store, target: Store, published: PublishedVersion, progress: Progress) -> None:
    present = set(target.names(f"{published.path}/"))
    for path, entry in published.manifest.files.items():
        name = f"{published.path}/{path}"
        if name not in present or not _is_whole(target, name, path, entry):
            chunks = verified(source.chunks(name), path, entry, progress)
            target.upload(name, io.BufferedReader(ChunkReader(chunks)))
    signature_path = f"{published.path}/{SIGNATURE_FILE}"
    if signature := source.read(signature_path):
        target.upload(signature_path, io.BytesIO(signature[0]))


def _is_whole(target: Store, name: str, path: str, entry: FileEntry) -> bool:
    """Return whether an interrupted copy has copied this file completely."""
    try:
        deque(verified(target.chunks(name), path, entry, no_progress), maxlen=0)
    except PackageError:
        return False
    return True


def _publish(target: Store, published: PublishedVersion) -> None:
    path = f"{published.path}/{MANIFEST_FILE}"
    try:
        target.write(path, published.text, None)
    except ConflictError as exc:
        # If the store's response was lost, the retry finds the manifest that we wrote.
        content, _ = target.read(path) or (None, None)
        if content != published.text:
            raise _conflict(target, published, "another package with this number") from exc


def _record(source: Store, ledger: Ledger, target: Store, published: PublishedVersion) -> None:
    """Append to the target's ledger who copied the version from where, and who withdrew it in the source.

    Entries about stages and trainings stay in the source: each store has its own.
    """
    version = published.manifest.version
    copied = Entry(now(), "publish", version, published.digest, author(), reason=_reason(source))
    others = [entry for entry in ledger.entries if entry.version == version and entry.action == "withdraw"]
    for entry in (copied, *others):
        append(target, ledger.name, partial(_unless_recorded, entry))


def _unless_recorded(entry: Entry, ledger: Ledger) -> Entry:
    """Return the ledger's entry of the same action about the same version, or `entry` if it has none."""
    same = (
        found for found in ledger.entries if (found.action, found.version) == (entry.action, entry.version)
    )
    return next((found for found in same if found.stage is None), entry)


def _reason(source: Store) -> str:
    return f"copied from {source.url}"


def _conflict(target: Store, published: PublishedVersion, found: str) -> ConflictError:
    return ConflictError(
        f"cannot copy {published} into the store {target.url}: it has {found}; copy into another store or "
        "prefix"
    )
