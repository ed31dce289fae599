"""Models in a store, and their published versions."""

import re
from dataclasses import dataclass

from model_loader.errors import NotFoundError, PackageError, StoreError
from model_loader.package import MANIFEST_FILE, NAME, Manifest, digest_of, parse_manifest
from model_loader.registry.ledger import STAGES, Ledger, read_ledger
from model_loader.store import Store

LATEST = "latest"
VERSION = r"[1-9][0-9]{0,8}"


@dataclass(frozen=True)
class PublishedVersion:
    """A version of a model in a store.

    Attributes:
        text: the bytes of its `manifest.json`.
    """

    manifest: Manifest
    text: bytes

    @property
    def digest(self) -> str:
        """The hash that identifies the whole package: `sha256:…`."""
        return digest_of(self.text)

    @property
    def path(self) -> str:
        """Prefix of its files in the store, without the last `/`: `wine/4`."""
        return f"{self.manifest.name}/{self.manifest.version}"

    def __str__(self) -> str:
        return f"{self.path}@{self.digest}"


def model_names(store: Store) -> list[str]:
    """Return the names of the models that have a published version, sorted."""
    pattern = re.compile(f"({NAME.pattern})/{VERSION}/{re.escape(MANIFEST_FILE)}")
    return sorted({match[1] for path in store.names("") if (match := pattern.fullmatch(path))})


def known_names(store: Store) -> list[str]:
    """Return the names of the models that have a published version, or only a claimed one, sorted."""
    pattern = re.compile(f"({NAME.pattern})/(?:{VERSION}/{re.escape(MANIFEST_FILE)}|claims/{VERSION}\\.json)")
    return sorted({match[1] for path in store.names("") if (match := pattern.fullmatch(path))})


def version_numbers(store: Store, name: str) -> list[int]:
    """Return the published versions of the model `name`, lowest first."""
    pattern = re.compile(f"{re.escape(name)}/({VERSION})/{re.escape(MANIFEST_FILE)}")
    return sorted(int(match[1]) for path in store.names(f"{name}/") if (match := pattern.fullmatch(path)))


def usable_numbers(store: Store, ledger: Ledger) -> list[int]:
    """Return the published versions of the ledger's model that are not withdrawn, lowest first."""
    withdrawn = ledger.withdrawals
    return [number for number in version_numbers(store, ledger.name) if number not in withdrawn]


def claimed_numbers(store: Store, name: str) -> list[int]:
    """Return the numbers that publishers of the model `name` have claimed, lowest first."""
    pattern = re.compile(f"{re.escape(name)}/claims/({VERSION})\\.json")
    names = store.names(f"{name}/claims/")
    return sorted(int(match[1]) for path in names if (match := pattern.fullmatch(path)))


def choose(store: Store, name: str | None) -> str:
    """Return `name`, or the name of the store's only model.

    Raises:
        NotFoundError: no name was given, and the store has no model or more than one.
        StoreError: `name` is not a valid model name.
    """
    if name:
        return check_name(name)
    found = model_names(store)
    if not found:
        raise NotFoundError(f"the store {store.url} has no models: publish one, or correct the URL")
    if len(found) > 1:
        raise NotFoundError(
            f"the store {store.url} has {', '.join(found)}: choose one with --name or MODEL_NAME"
        )
    return found[0]


def choose_known(store: Store, name: str | None) -> str:
    """Return the same as `choose`, but refuse a name that the store does not have.

    Raises:
        NotFoundError: the store has no model of this name, not even an incomplete one.
    """
    chosen = choose(store, name)
    if chosen not in (known := known_names(store)):
        raise NotFoundError(
            f"the store {store.url} has no model {chosen}; it has {', '.join(known) or 'none'}"
        )
    return chosen


def check_name(name: str) -> str:
    """Return `name` if it is a valid model name.

    Raises:
        StoreError: it is not.
    """
    if not NAME.fullmatch(name):
        raise StoreError(f"expected the name of a model, {NAME.pattern}, got {name!r}")
    return name


def check_letter_case(store: Store, name: str) -> None:
    """Check that no other model in the store has the same name in other letters, such as `Wine` and `wine`.

    On macOS and Windows both would be one directory, and so would a copy of the store there.

    Raises:
        StoreError: there is such a model.
    """
    for known in known_names(store):
        if known != name and known.casefold() == name.casefold():
            raise StoreError(
                f"the store {store.url} has the model {known}, which some file systems cannot tell from "
                f"{name}: choose another name, or the same"
            )


def find(store: Store, name: str, version: str) -> PublishedVersion:
    """Return a published version of the model `name`.

    Args:
        version: a number, a stage, or `latest`, the highest published version that is not withdrawn.

    Raises:
        NotFoundError: there is no such version.
        PackageError: the manifest is invalid, is another version's, or differs from what the ledger recorded.
        StoreError: the ledger is invalid, or `version` is none of these.
    """
    ledger = read_ledger(store, name)
    if version in STAGES:
        return get(store, ledger, ledger.current(version).version)
    if version == LATEST:
        if usable := usable_numbers(store, ledger):
            return get(store, ledger, usable[-1])
        numbers = ", ".join(map(str, version_numbers(store, name)))
        if not numbers:
            raise NotFoundError(f"no version of {name} is published in the store {store.url}")
        raise NotFoundError(
            f"every version of {name} in the store {store.url} is withdrawn: publish another, or select one "
            f"by its number: {numbers}"
        )
    if re.fullmatch(VERSION, version):
        return get(store, ledger, int(version))
    raise StoreError(f"expected {LATEST}, {', '.join(STAGES)} or a number as the version, got {version!r}")


def get(store: Store, ledger: Ledger, version: int) -> PublishedVersion:
    """Return a version of the ledger's model.

    Raises:
        NotFoundError: it is not published.
        PackageError: the manifest is invalid, is another version's, or differs from what the ledger recorded.
    """
    path = f"{ledger.name}/{version}"
    content, _ = store.read(f"{path}/{MANIFEST_FILE}") or (None, None)
    if content is None:
        numbers = ", ".join(map(str, version_numbers(store, ledger.name))) or "none"
        raise NotFoundError(f"{path} is not published in the store {store.url}; versions: {numbers}")
    published = PublishedVersion(parse_manifest(content, f"{path}/{MANIFEST_FILE}"), content)
    if published.path != path:
        raise PackageError(f"{path} in the store {store.url} has the manifest of {published.path}")
    for entry in ledger.entries:
        if entry.version == version and entry.digest != published.digest:
            raise PackageError(
                f"{published} in the store {store.url} is not what was published: {entry.digest}"
            )
    return published
