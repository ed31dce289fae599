"""Repair: entries that the ledger lacks, and files of publishers that did not finish."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from model_loader.errors import ConflictError, PackageError
from model_loader.package import MANIFEST_FILE, encode, parse_json
from model_loader.registry.ledger import Entry, Ledger, append, now, read_ledger
from model_loader.registry.versions import PublishedVersion, claimed_numbers, get, version_numbers
from model_loader.store import Store

# A publisher is taken for dead after this time. One that is not finds out before it writes its manifest.
SAFE_AGE = timedelta(hours=24)


@dataclass(frozen=True)
class Claim:
    """A version number that a publisher has claimed, and not published yet.

    Attributes:
        by: the publisher.
        time: when it was claimed, RFC 3339; empty if that is not recorded.
    """

    name: str
    version: int
    by: str
    time: str

    @property
    def is_dead(self) -> bool:
        """Whether the publisher has had more than enough time."""
        try:
            return datetime.now(UTC) - datetime.fromisoformat(self.time) > SAFE_AGE
        except (ValueError, TypeError):  # not a time, or one without a zone
            return False


@dataclass(frozen=True)
class Repair:
    """What a repair did.

    Attributes:
        entries: were added to the ledger.
        swept: claims whose files were removed.
        kept: claims whose publishers may still be at work.
    """

    entries: Sequence[Entry]
    swept: Sequence[Claim]
    kept: Sequence[Claim]


def describe_claim(claim: Claim) -> str:
    """Return which version was claimed by whom and when."""
    return f"{claim.name}/{claim.version}, claimed by {claim.by} at {claim.time or 'an unknown time'}"


def publish_entry(store: Store, published: PublishedVersion) -> Entry:
    """Return the ledger's entry of a published version, the same whoever writes it."""
    manifest = published.manifest
    reason = _read_claim(store, manifest.name, manifest.version).get("reason")
    by = str(manifest.document.get("publisher", "unknown"))
    return Entry(
        manifest.created,
        "publish",
        manifest.version,
        published.digest,
        by,
        reason=reason if isinstance(reason, str) else None,
    )


def missing_entries(store: Store, ledger: Ledger) -> list[Entry]:
    """Return the entries of published versions that the ledger lacks.

    A version with an invalid manifest gets none: it cannot be pulled, and must not stop a rollback.
    """
    recorded = {entry.version for entry in ledger.entries if entry.action == "publish"}
    entries = []
    for version in version_numbers(store, ledger.name):
        if version not in recorded:
            try:
                entries.append(publish_entry(store, get(store, ledger, version)))
            except PackageError:
                continue
    return entries


def incomplete(store: Store, name: str) -> list[Claim]:
    """Return the versions that were claimed and not published, lowest first, without those swept."""
    published, claims = set(version_numbers(store, name)), []
    for version in claimed_numbers(store, name):
        if version not in published:
            document = _read_claim(store, name, version)
            # A repair that was killed has left files of a claim that it had marked.
            if "swept" not in document or store.names(f"{name}/{version}/"):
                by, time = document.get("by", "unknown"), document.get("time", "")
                claims.append(Claim(name, version, str(by), str(time)))
    return claims


def repair(store: Store, name: str) -> Repair:
    """Add the entries that the ledger lacks, and remove the files of publishers that died.

    Raises:
        StoreError: the store cannot be reached, or rejects the request.
    """
    entries = missing_entries(store, read_ledger(store, name))
    if entries:
        append(store, name, lambda _: entries[-1], entries)
    claims = incomplete(store, name)
    swept = [claim for claim in claims if claim.is_dead and _sweep(store, claim)]
    return Repair(entries, swept, [claim for claim in claims if claim not in swept])


def is_swept(store: Store, name: str, version: int) -> bool:
    """Return whether a repair has taken the publisher of a version for dead."""
    return "swept" in _read_claim(store, name, version)


def _sweep(store: Store, claim: Claim) -> bool:
    """Remove the files of a claimed version; return False if it was published in the meantime."""
    path = _claim_path(claim.name, claim.version)
    _, etag = store.read(path) or (b"", None)
    document = _read_claim(store, claim.name, claim.version) | {"swept": now()}
    try:
        # First the claim, which a publisher reads before it publishes.
        store.write(path, encode(document), etag)
    except ConflictError:
        return False
    if store.read(f"{claim.name}/{claim.version}/{MANIFEST_FILE}"):
        return False
    store.remove(f"{claim.name}/{claim.version}/")
    return True


def _claim_path(name: str, version: int) -> str:
    return f"{name}/claims/{version}.json"


def _read_claim(store: Store, name: str, version: int) -> dict[str, Any]:
    """Return the content of a claim; empty if there is none, or if it is not one of ours."""
    content, _ = store.read(_claim_path(name, version)) or (b"{}", None)
    try:
        document = parse_json(content, _claim_path(name, version))
    except PackageError:
        return {}
    return document if isinstance(document, dict) else {}
