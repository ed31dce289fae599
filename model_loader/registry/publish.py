"""Puts a package into a store as the next version of its model."""

import io
import re
from pathlib import Path
from typing import Any

from model_loader.errors import ConflictError, PackageError
from model_loader.package import MANIFEST_FILE, SCHEMA, SIGNATURE_FILE, encode, parse_manifest
from model_loader.registry.draft import Draft, read_draft
from model_loader.registry.ledger import Entry, append, author, now, read_ledger
from model_loader.registry.package_signing import check_key, sign
from model_loader.registry.versions import VERSION, Release, check_name
from model_loader.store import Store
from model_loader.store.transfer import Progress, Source, silent


def publish(
    directory: Path,
    store: Store,
    *,
    name: str | None = None,
    parent: int | None = None,
    reason: str | None = None,
    sign_key: Path | None = None,
    progress: Progress = silent,
) -> Release:
    """Publishes the package in `directory`: `model.onnx`, the files it names, and what describes it.

    A `manifest.json` there is a draft: what it says of name, features, classes, metrics, data, training and
    parent is kept. The version is published once the store has its manifest, which is written last.

    Args:
        name: of the model; else the draft's.
        parent: the version it was trained from; else the draft's.
        reason: a note for the ledger.
        sign_key: private key, PEM, to sign the package with.
        progress: told of every block.

    Raises:
        PackageError: the package is not fit to be published, or changed meanwhile.
        StoreError: the store cannot be reached, or refuses.
    """
    draft = read_draft(directory)
    name = check_name(_name(draft, name))
    # What would fail in the end is better found before the upload.
    parse_manifest(encode(_document(draft, name, 1, parent)))
    read_ledger(store, name)
    if sign_key:
        check_key(sign_key)
    version = _claim(store, name)
    text = encode(_document(draft, name, version, parent))
    release = Release(parse_manifest(text), text)
    if sign_key:
        signature = sign(directory, list(draft.files), text, sign_key)
        store.upload(f"{release.path}/{SIGNATURE_FILE}", io.BytesIO(signature))
    for path in draft.files:
        _upload(draft, path, store, f"{release.path}/{path}", progress)
    _seal(store, release)
    entry = Entry(now(), "publish", version, release.digest, author(), reason=reason)
    append(store, name, lambda _: entry)
    return release


def _name(draft: Draft, name: str | None) -> str:
    if found := name or draft.fields.get("name"):
        return str(found)
    raise PackageError(f"the model has no name: give --name, or 'name' in {MANIFEST_FILE}")


def _claim(store: Store, name: str) -> int:
    """A version number that nobody else has or will have, whatever becomes of this publisher."""
    taken = re.compile(rf"{re.escape(name)}/(?:claims/)?({VERSION})[/.].*")
    version = max(
        (int(match[1]) for path in store.names(f"{name}/") if (match := taken.fullmatch(path))), default=0
    )
    claim = encode({"by": author(), "time": now()})
    while True:
        version += 1
        try:
            store.write(f"{name}/claims/{version}.json", claim, None)
        except ConflictError:
            continue
        return version


def _upload(draft: Draft, path: str, store: Store, target: str, progress: Progress) -> None:
    expected = draft.files[path]
    with Source(draft.directory, path, expected.bytes, progress) as source:
        store.upload(target, source)
        if source.sha256() != expected.sha256:
            raise PackageError(f"{path} changed while it was being published: publish again")


def _document(draft: Draft, name: str, version: int, parent: int | None) -> dict[str, Any]:
    model_io = draft.model_io
    document = {
        "schema": SCHEMA,
        "name": name,
        "version": version,
        "created": now(),
        "files": {path: {"sha256": file.sha256, "bytes": file.bytes} for path, file in draft.files.items()},
        "inputs": [spec.to_json() for spec in model_io.inputs],
        "outputs": [spec.to_json() for spec in model_io.outputs],
    }
    said = draft.fields | {"publisher": author()} | ({} if parent is None else {"parent": parent})
    return document | {field: value for field, value in said.items() if field != "name"}


def _seal(store: Store, release: Release) -> None:
    path = f"{release.path}/{MANIFEST_FILE}"
    try:
        store.write(path, release.text, None)
    except ConflictError:
        # Where the store's answer was lost, the retry met our own manifest.
        content, _ = store.read(path) or (None, None)
        if content != release.text:
            raise
