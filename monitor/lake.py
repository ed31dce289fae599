"""The capture store's objects as local files.

A directory is read in place. Of a container, changed objects are downloaded into a cache first, because the
extensions of DuckDB that read Azure are downloaded at run time, from another host.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_loader.errors import ConflictError, NotFoundError
from model_loader.store import Store, open_store
from model_loader.store.atomic import atomic_write, exclusive_lock
from monitor.errors import MonitorError
from monitor.layout import ROOT, StoredObject, model_prefix, parse_object

INDEX_FILE = "index.json"
ATTEMPTS = 3
# After so many downloads the index is written, or after a tenth of what it has, because it is written whole.
INDEX_OBJECTS = 100
INDEX_SHARE = 10


@dataclass(frozen=True)
class LocalObject:
    """An object and the local file that has its content."""

    object: StoredObject
    path: Path


class Lake:
    """A capture store.

    Attributes:
        store: the same, for writing.
    """

    def __init__(self, url: str, cache: Path | None = None) -> None:
        """Open the store at `url`.

        Args:
            cache: directory for the objects of a container; None: below XDG_CACHE_HOME or ~/.cache.

        Raises:
            StoreError: no backend has such URLs.
        """
        self.store: Store = open_store(url)
        directory = re.fullmatch(r"file:(.+)", url)
        self._root = Path(directory[1]) if directory else None
        self._cache = cache or _default_cache(self.store.url)

    def models(self) -> list[str]:
        """Return the names of the models that have data, sorted."""
        return sorted({each.model for each in _objects(self.store.names(ROOT))})

    def objects(self, model: str) -> list[StoredObject]:
        """Return the objects of a model, sorted by name.

        Raises:
            StoreError: the store cannot be listed.
        """
        return _objects(self.store.names(model_prefix(model)))

    def local(self, model: str, since: str = "") -> list[LocalObject]:
        """Return the objects of a model as local files.

        Args:
            since: the first date, YYYY-MM-DD; empty: all.

        Raises:
            StoreError: the store cannot be read.
            MonitorError: the cache cannot be written.
        """
        if self._root is not None:
            found = self.objects(model)
            return [LocalObject(each, self._root / each.name) for each in found if each.date >= since]
        for _ in range(ATTEMPTS):
            try:
                return self._download(model, since)
            except (NotFoundError, ConflictError):
                continue  # compacted or rewritten since it was listed
        raise MonitorError(f"the store {self.store.url} changes while it is read: try again")

    def purge(self) -> None:
        """Remove what the cache has of objects that have changed, or are gone, and of interrupted downloads.

        Raises:
            StoreError: the store cannot be listed.
            MonitorError: the cache cannot be written.
        """
        if self._root is None and self._cache.is_dir():
            with self._locked():
                etags, index = self.store.etags(ROOT), _read_index(self._cache)
                self._forget(index, [name for name, etag in index.items() if etags.get(name) != etag])
                self._remove_unknown(index, ROOT)

    def _download(self, model: str, since: str) -> list[LocalObject]:
        prefix = model_prefix(model)
        with self._locked():
            etags, index = self.store.etags(prefix), _read_index(self._cache)
            self._forget(
                index, [name for name in index if name.startswith(prefix) and index[name] != etags.get(name)]
            )
            self._remove_unknown(index, prefix)
            found = [each for each in _objects(etags) if each.date >= since]
            missing = [each.name for each in found if each.name not in index]
            written = len(index)
            try:
                for name in missing:
                    path = self._cache / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with atomic_write(path) as file:
                        file.writelines(self.store.chunks(name))
                    # Afterwards, so that an object in the index is complete.
                    index[name] = etags[name]
                    if len(index) - written >= max(INDEX_OBJECTS, written // INDEX_SHARE):
                        self._write_index(index)
                        written = len(index)
            finally:
                if len(index) != written:
                    self._write_index(index)
        return [LocalObject(each, self._cache / each.name) for each in found]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Wait until no other process changes the cache.

        Raises:
            MonitorError: the cache cannot be written.
        """
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            with exclusive_lock(self._cache):
                yield
        except OSError as exc:
            raise MonitorError(f"cache {self._cache}: {exc.strerror}") from exc

    def _remove_unknown(self, index: dict[str, str], prefix: str) -> None:
        """Remove files that are not in the index: an interrupted download has left them."""
        for directory, _, names in os.walk(self._cache / prefix):
            for name in names:
                path = Path(directory, name)
                if path.relative_to(self._cache).as_posix() not in index:
                    path.unlink(missing_ok=True)

    def _forget(self, index: dict[str, str], names: Sequence[str]) -> None:
        """Remove objects from the cache, and from its index."""
        for name in names:
            (self._cache / name).unlink(missing_ok=True)
            del index[name]
        if names:
            self._write_index(index)

    def _write_index(self, index: dict[str, str]) -> None:
        with atomic_write(self._cache / INDEX_FILE) as file:
            file.write(json.dumps(index).encode())


def _objects(names: Iterable[str]) -> list[StoredObject]:
    return [found for name in names if (found := parse_object(name))]


def _default_cache(url: str) -> Path:
    return cache_root() / "captured" / hashlib.sha256(url.encode()).hexdigest()[:16]


def cache_root() -> Path:
    """Return the directory of Scorebox's caches, below XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scoring"


def _read_index(cache: Path) -> dict[str, str]:
    """Return name → ETag of the objects in a cache; an index that cannot be read has none."""
    try:
        found = json.loads((cache / INDEX_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
