"""What a store holds: models, their published versions, and what each says of itself."""

import re
from dataclasses import dataclass

from model_loader.errors import NotFoundError, PackageError, StoreError
from model_loader.package import MANIFEST_FILE, NAME, Manifest, digest_of, parse_manifest
from model_loader.registry.ledger import STAGES, Ledger, read_ledger
from model_loader.store import Store

LATEST = "latest"
VERSION = r"[1-9][0-9]{0,8}"


@dataclass(frozen=True)
class Release:
    """A published version.

    Attributes:
        text: the bytes of its `manifest.json`.
    """

    manifest: Manifest
    text: bytes

    @property
    def digest(self) -> str:
        """The hash that names the whole package: `sha256:…`."""
        return digest_of(self.text)

    @property
    def path(self) -> str:
        """Where its files are in the store: `wine/4`."""
        return f"{self.manifest.name}/{self.manifest.version}"

    def __str__(self) -> str:
        return f"{self.path}@{self.digest}"


def names(store: Store) -> list[str]:
    """The models that have a published version."""
    pattern = re.compile(f"({NAME.pattern})/{VERSION}/{re.escape(MANIFEST_FILE)}")
    return sorted({match[1] for name in store.names("") if (match := pattern.fullmatch(name))})


def versions(store: Store, name: str) -> list[int]:
    """The published versions of the model `name`, lowest first."""
    pattern = re.compile(f"{re.escape(name)}/({VERSION})/{re.escape(MANIFEST_FILE)}")
    return sorted(int(match[1]) for path in store.names(f"{name}/") if (match := pattern.fullmatch(path)))


def choose(store: Store, name: str | None) -> str:
    """`name`, or the only model in the store.

    Raises:
        NotFoundError: there is none, or several.
        StoreError: no model can have such a name.
    """
    if name:
        return check_name(name)
    found = names(store)
    if not found:
        raise NotFoundError(f"the store {store.url} holds no models: publish one, or correct the URL")
    if len(found) > 1:
        raise NotFoundError(
            f"the store {store.url} holds {', '.join(found)}: choose one with --name or MODEL_NAME"
        )
    return found[0]


def check_name(name: str) -> str:
    """`name`, if a model can have it.

    Raises:
        StoreError: it cannot.
    """
    if not NAME.fullmatch(name):
        raise StoreError(f"expected the name of a model, {NAME.pattern}, got {name!r}")
    return name


def find(store: Store, name: str, version: str) -> Release:
    """The release that `version` means: a number, a stage, or `latest`, the highest published.

    Raises:
        NotFoundError: there is no such version.
        PackageError: as `get`.
        StoreError: the ledger cannot be read, or `version` is none of these.
    """
    ledger = read_ledger(store, name)
    if version in STAGES:
        return get(store, ledger, ledger.current(version).version)
    if version == LATEST:
        published = versions(store, name)
        if not published:
            raise NotFoundError(f"no version of {name} is published in the store {store.url}")
        return get(store, ledger, published[-1])
    if re.fullmatch(VERSION, version):
        return get(store, ledger, int(version))
    raise StoreError(f"expected {LATEST}, {', '.join(STAGES)} or a number as the version, got {version!r}")


def get(store: Store, ledger: Ledger, version: int) -> Release:
    """A version of the ledger's model.

    Raises:
        NotFoundError: it is not published.
        PackageError: its manifest is not one, is another model's, or is not what the ledger recorded.
    """
    path = f"{ledger.name}/{version}"
    content, _ = store.read(f"{path}/{MANIFEST_FILE}") or (None, None)
    if content is None:
        published = ", ".join(map(str, versions(store, ledger.name))) or "none"
        raise NotFoundError(f"{path} is not published in the store {store.url}; versions: {published}")
    release = Release(parse_manifest(content), content)
    if release.path != path:
        raise PackageError(f"{path} in the store {store.url} says that it is {release.path}")
    for entry in ledger.entries:
        if entry.version == version and entry.digest != release.digest:
            raise PackageError(
                f"{release} in the store {store.url} is not what was published: {entry.digest}"
            )
    return release
