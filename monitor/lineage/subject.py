"""What a lineage is asked for: a prediction, a version, a digest, an image or a release."""

import re
from dataclasses import dataclass

from model_loader.package import MANIFEST_FILE, digest_of
from model_loader.registry.ledger import STAGES, read_ledger
from model_loader.registry.versions import LATEST, choose, find, model_names, version_numbers
from model_loader.store import Store
from monitor.errors import MonitorError
from monitor.releases import ReleaseLine, find_releases

HASH = re.compile(r"sha256:[0-9a-f]{7,64}")
IMAGE = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
VERSION = re.compile(r"(?:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,99})/)?(?P<version>[1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Subject:
    """What was asked for.

    Attributes:
        name, version: of the model; None: the captured row or the image has them.
        id: of a prediction or its request.
        image: `REPOSITORY@sha256:…`, if the argument names an image or a release.
        commit: of the release, if the argument names one.
    """

    name: str | None = None
    version: int | None = None
    id: str | None = None
    image: str | None = None
    commit: str | None = None


def find_subject(text: str, models: Store, name: str | None, releases: list[ReleaseLine]) -> Subject:
    """Find out what the argument names.

    Args:
        text: an id, a digest of a model or an image, a version, a stage, an image, or a release's commit.
        name: of the model, for a version without a name; None: the store's only one.

    Raises:
        MonitorError: no model and no release has the digest.
        StoreError: the store cannot be read.
    """
    if not text:
        raise MonitorError("expected an id, digest, version, image or release, got an empty text")
    if released := find_releases(releases, text):  # first: the digits of a commit may be a number
        return _of_release(released[-1])
    if found := VERSION.fullmatch(text):
        chosen, version = found["name"] or choose(models, name), int(found["version"])
        if found["name"] or _is_known(models, chosen, version):
            return Subject(chosen, version)
        return Subject(id=text)  # clients may count their requests
    if text in (LATEST, *STAGES):
        chosen = choose(models, name)
        return Subject(chosen, _staged(models, chosen, text))
    if HASH.fullmatch(text):
        return _of_digest(text, models, name)
    if IMAGE.fullmatch(text):
        return Subject(image=text)
    return Subject(id=text)


def model_of(text: str) -> tuple[str, int]:
    """Return name and version of `NAME/VERSION@sha256:…`.

    Raises:
        MonitorError: it is not of this form.
    """
    found = VERSION.fullmatch(text.partition("@")[0])
    if not found or not found["name"]:
        raise MonitorError(f"expected a model, NAME/VERSION@sha256:…, got {text!r:.120}")
    return found["name"], int(found["version"])


def _is_known(models: Store, name: str, version: int) -> bool:
    """Return whether a version has a manifest, or the ledger says that it had one."""
    if version in version_numbers(models, name):
        return True
    return any(entry.version == version for entry in read_ledger(models, name).entries)


def _of_release(release: ReleaseLine) -> Subject:
    name, version = model_of(release.model)
    return Subject(name, version, image=release.image, commit=release.commit)


def _of_digest(text: str, models: Store, name: str | None) -> Subject:
    """Return the version whose manifest has a digest, or else the one that the ledger says has it."""
    names = [name] if name else model_names(models)
    for each in names:
        for version in version_numbers(models, each):
            content = models.read(f"{each}/{version}/{MANIFEST_FILE}")
            if content and digest_of(content[0]).startswith(text):
                return Subject(each, version)
        for entry in read_ledger(models, each).entries:
            if entry.digest.startswith(text):
                return Subject(each, entry.version)
    raise MonitorError(
        f"no model in the store {models.url} and no line of releases.jsonl has the digest {text}"
    )


def _staged(models: Store, name: str, text: str) -> int:
    if text == LATEST:
        return find(models, name, LATEST).manifest.version
    return read_ledger(models, name).current(text).version
