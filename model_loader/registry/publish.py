"""Publishing: add a package to a store as the next version of its model."""

import io
import re
from pathlib import Path
from typing import Any

from model_loader.errors import ConflictError, PackageError, StoreError
from model_loader.package import MANIFEST_FILE, SCHEMA, SIGNATURE_FILE, encode, parse_manifest
from model_loader.package.draft import Draft
from model_loader.registry.check import CheckedDraft, check
from model_loader.registry.ledger import append, author, now, read_ledger
from model_loader.registry.package_signing import check_key, sign
from model_loader.registry.repair import is_swept, missing_entries, publish_entry
from model_loader.registry.versions import VERSION, PublishedVersion, check_letter_case, check_name
from model_loader.store import Store
from model_loader.store.transfer import Progress, Source, no_progress


def publish(path: Path, store: Store, **options: Any) -> PublishedVersion:
    """Check the draft in a directory, or a single ONNX file, and publish it; see `publish_draft`."""
    return publish_draft(check(path), store, **options)


def publish_draft(
    checked: CheckedDraft,
    store: Store,
    *,
    name: str | None = None,
    parent: int | None = None,
    reason: str | None = None,
    sign_key: Path | None = None,
    progress: Progress = no_progress,
) -> PublishedVersion:
    """Publish a draft that was checked as the next version of its model.

    The version is published as soon as the store has its manifest, which is written last.

    Args:
        name: of the model; default: the draft's.
        parent: the version that it was trained from; default: the draft's.
        reason: a note for the ledger.
        sign_key: private key, PEM, to sign the package with.
        progress: called after each block.

    Raises:
        PackageError: the package cannot be published, or changed while it was uploaded.
        StoreError: the store cannot be reached, or rejects the request.
    """
    draft = checked.draft
    name = model_name(draft, name)
    check_letter_case(store, name)
    # Detect before the upload what would otherwise fail after it.
    parse_manifest(encode(_manifest(checked, name, 1, parent)))
    encode({"by": author(), "reason": reason})
    missing = missing_entries(store, read_ledger(store, name))
    if sign_key:
        check_key(sign_key)
    version = _claim_version(store, name, reason)
    text = encode(_manifest(checked, name, version, parent))
    published = PublishedVersion(parse_manifest(text), text)
    if sign_key:
        files = {path: draft.path(path) for path in draft.files}
        signature = sign(files, text, sign_key, draft.source.resolve().parent)
        store.upload(f"{published.path}/{SIGNATURE_FILE}", io.BytesIO(signature))
    for path in draft.files:
        _upload(draft, path, store, f"{published.path}/{path}", progress)
    if is_swept(store, name, version):
        raise StoreError(
            f"{published.path} took so long that 'publish --repair' has taken it for abandoned: publish again"
        )
    _write_manifest(store, published)
    try:
        entry = publish_entry(store, published)
        append(store, name, lambda _: entry, missing)
    except StoreError as exc:
        raise StoreError(
            f"{published} is published in {store.url}, but its entry in the ledger is missing: {exc}. The "
            f"next command that changes the ledger adds it, or: publish --repair --name {name}"
        ) from exc
    return published


def model_name(draft: Draft, name: str | None) -> str:
    """Return the name to publish a draft as: `name` or the draft's.

    Raises:
        PackageError: there is none.
        StoreError: it is not a valid name.
    """
    if found := name or draft.fields.get("name"):
        return check_name(str(found))
    raise PackageError(f"the model has no name: give --name, or 'name' in {MANIFEST_FILE}")


def _claim_version(store: Store, name: str, reason: str | None) -> int:
    """Reserve the next version number. It is never used again, even if this publisher fails."""
    taken = re.compile(rf"{re.escape(name)}/(?:claims/)?({VERSION})[/.].*")
    version = max(
        (int(match[1]) for path in store.names(f"{name}/") if (match := taken.fullmatch(path))), default=0
    )
    # The reason too, so that a repair can write the entry of a publisher that was killed.
    claim = encode({"by": author(), "time": now(), "reason": reason})
    while True:
        version += 1
        try:
            store.write(f"{name}/claims/{version}.json", claim, None)
        except ConflictError:
            continue
        return version


def _upload(draft: Draft, path: str, store: Store, target: str, progress: Progress) -> None:
    expected = draft.files[path]
    with Source(draft.path(path), path, expected.bytes, progress) as source:
        store.upload(target, source)
        if source.sha256() != expected.sha256:
            raise PackageError(f"{path} changed while it was being published: publish again")


def _manifest(checked: CheckedDraft, name: str, version: int, parent: int | None) -> dict[str, Any]:
    draft, model_io = checked.draft, checked.model_io
    document = {
        "schema": SCHEMA,
        "name": name,
        "version": version,
        "created": now(),
        "files": {path: {"sha256": file.sha256, "bytes": file.bytes} for path, file in draft.files.items()},
        "inputs": [spec.to_json() for spec in model_io.inputs],
        "outputs": [spec.to_json() for spec in model_io.outputs],
    }
    fields = draft.fields | {"publisher": author()} | ({} if parent is None else {"parent": parent})
    return document | {field: value for field, value in fields.items() if field != "name"}


def _write_manifest(store: Store, published: PublishedVersion) -> None:
    path = f"{published.path}/{MANIFEST_FILE}"
    try:
        store.write(path, published.text, None)
    except ConflictError:
        # If the store's response was lost, the retry finds the manifest that we wrote.
        content, _ = store.read(path) or (None, None)
        if content != published.text:
            raise
    except StoreError as exc:
        raise StoreError(
            f"the store did not confirm that {published} is published: {exc}. 'list' shows whether it is"
        ) from exc
