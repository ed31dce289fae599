"""A published version: its manifest, the ledger's entries, its publisher, and its training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_loader.package import MANIFEST_FILE, Manifest, digest_of, parse_manifest
from model_loader.registry.ledger import Entry, Ledger, read_ledger
from model_loader.store import Store
from monitor.errors import MonitorError
from monitor.lineage.git import has_commit
from monitor.lineage.links import Link, Problem, absent, checked, compare, unavailable


@dataclass(frozen=True)
class Published:
    """What the store has of a version.

    Attributes:
        digest: the sha256 of the manifest in the store.
    """

    name: str
    version: int
    manifest: Manifest
    digest: str
    ledger: Ledger

    @property
    def path(self) -> str:
        """`NAME/VERSION`."""
        return f"{self.name}/{self.version}"

    @property
    def entries(self) -> list[Entry]:
        """The ledger's entries of this version, oldest first."""
        return [entry for entry in self.ledger.entries if entry.version == self.version]

    @property
    def publication(self) -> Entry | None:
        """The entry that published it."""
        return next((entry for entry in self.entries if entry.action == "publish"), None)


def read_published(models: Store, name: str, version: int) -> Published | None:
    """Read a version; None: the store has no manifest of it.

    Raises:
        PackageError: the manifest is invalid.
        StoreError: the store cannot be read, or its ledger is invalid.
    """
    path = f"{name}/{version}/{MANIFEST_FILE}"
    content = models.read(path)
    if content is None:
        return None
    manifest = parse_manifest(content[0], path)
    return Published(name, version, manifest, digest_of(content[0]), read_ledger(models, name))


def version_link(published: Published) -> Link:
    """Return the link of the version: where it is published, and the stages that have it."""
    manifest = published.manifest
    stages = published.ledger.stages(published.version)
    facts = {
        "name": published.name, "version": published.version, "created": manifest.created,
        "parent": manifest.document.get("parent"), "stages": stages, "metrics": dict(manifest.metrics),
        "withdrawn": published.version in published.ledger.withdrawals,
    }  # fmt: skip
    text = f"{published.path}, published at {manifest.created}"
    text += f", in {' and '.join(stages)}" if stages else ""
    text += ", withdrawn" if facts["withdrawn"] else ""
    found = f"{manifest.name}/{manifest.version}"
    return checked(
        "version", text, facts, compare(f"{published.path}/{MANIFEST_FILE}", published.path, found)
    )


def digest_link(published: Published) -> Link:
    """Return the link of the digest: the manifest's sha256 compared with every entry of the ledger."""
    problems: list[Problem] = []
    for entry in published.entries:
        what = f"ledger.jsonl, {entry.action} of {entry.time}"
        problems += compare(what, published.digest, entry.digest)
    if published.publication is None:
        problems.append(Problem("ledger.jsonl", f"an entry that publishes {published.path}", "none"))
    facts = {"digest": published.digest, "ledger": [entry.to_json() for entry in published.entries]}
    text = published.digest
    text += "" if problems else f", as in {len(published.entries)} entries of the ledger"
    return checked("digest", text, facts, problems)


def person_link(published: Published) -> Link:
    """Return the link of the person: the publisher in the manifest compared with that in the ledger."""
    publisher, entry = published.manifest.document.get("publisher"), published.publication
    facts = {
        "publisher": publisher, "published_by": entry and entry.by,
        "stages": [
            {key: getattr(each, key) for key in ("stage", "action", "by", "time", "reason")}
            for each in published.entries
            if each.stage
        ],
    }  # fmt: skip
    if publisher is None:
        return checked("person", f"{entry.by if entry else 'unknown'}, by the ledger", facts, state="stated")
    promoted = [f"{each.stage} by {each.by}" for each in published.entries if each.stage]
    problems = compare("ledger.jsonl, publish: by", publisher, entry.by) if entry else []
    return checked("person", ", ".join([f"published by {publisher}", *promoted]), facts, problems)


def training_link(published: Published, clone: Path) -> Link:
    """Return the link of the training: its time and settings, and the commit, which a clone may have.

    Args:
        clone: a file at the top of the clone.
    """
    training: dict[str, Any] = dict(published.manifest.document.get("training", {}))
    if not training:
        return absent("training", "the manifest has no field 'training'")
    commit = training.get("commit")
    text = ", ".join(f"{key} {training[key]}" for key in ("run", "finished", "seed") if training.get(key))
    if not commit:
        return checked("training", f"{text}, without a commit", training, state="stated")
    text = f"commit {str(commit)[:12]}, {text}"
    try:
        if has_commit(clone, str(commit)):
            return checked("training", text, training)
    except MonitorError as exc:
        return unavailable("training", str(exc), text, training)
    return unavailable("training", f"the clone has no commit {commit}: git fetch", text, training)
