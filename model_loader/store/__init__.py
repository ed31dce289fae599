"""Stores of models and data: operations on named objects. The URL selects the backend.

    file:PATH                                                         a directory
    https://<account>.blob.core.windows.net/<container>[/<prefix>]    Azure Blob storage
    http://127.0.0.1:<port>/devstoreaccount1/<container>[/<prefix>]   Azurite, its emulator

Object names are paths with `/`, such as `wine/4/model.onnx`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote

from model_loader.errors import StoreError
from model_loader.store.file_store import FileStore
from model_loader.store.secrets import CONNECTION_STRING, has_secret, redact

__all__ = ["Store", "open_store", "redact"]


class Store(Protocol):
    """The interface of a backend. Every method raises StoreError if the store cannot be used.

    Attributes:
        url: the store's URL without secrets, for messages and `model.lock`.
    """

    url: str

    def names(self, prefix: str) -> list[str]:
        """Return the names of all objects below `prefix`, sorted. A prefix is empty or ends with `/`.

        Names that the other methods refuse, see `check_object_name`, are left out.
        """

    def etags(self, prefix: str) -> dict[str, str]:
        """Return the objects below `prefix`, as `names`, each with what changes when it is replaced."""

    def etag(self, name: str) -> str | None:
        """Return what `etags` has of an object, or None if there is no such object."""

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return the content and the ETag of a small object, or None if there is no such object."""

    def write(self, name: str, content: bytes, etag: str | None) -> None:
        """Write a small object, unless somebody else has written it since it was read.

        Args:
            etag: as returned by `read`; None if the object must not exist yet.

        Raises:
            ConflictError: the object exists, or has another ETag; nothing was written.
        """

    def upload(self, name: str, source: BinaryIO) -> None:
        """Upload an object of any size. `source` is read once, in order, and not kept in memory."""

    def remove(self, prefix: str) -> None:
        """Remove all objects below `prefix`, which ends with `/`, and what interrupted uploads left there."""

    def delete(self, name: str) -> None:
        """Remove an object, if it exists."""

    def chunks(self, name: str, start: int = 0) -> Iterator[bytes]:
        """Yield the content of an object of any size in order, from the byte `start` on.

        Raises:
            NotFoundError: there is no such object.
            ConflictError: the object was replaced in the meantime.
        """


def open_store(url: str) -> Store:
    """Return the store at `url`. Nothing is connected before the first operation.

    Raises:
        StoreError: no backend has such URLs, or its packages are not installed. The message has no
            part of a credential.
    """
    if CONNECTION_STRING.search(unquote(url)):
        raise StoreError(
            "the store is a connection string: write "
            "https://<account>.blob.core.windows.net/<container>[/<prefix>], and sign in with 'az login', "
            "give the workload an identity, or append '?' and a SAS"
        )
    if path := re.fullmatch(r"file:(?!//[^/])(.+)", url):
        if has_secret(path[1]) or "://" in path[1]:
            raise StoreError(
                "the store is another URL or a credential after 'file:': expected file:PATH; write "
                "https://<account>.blob.core.windows.net/<container>[/<prefix>] without 'file:'"
            )
        return FileStore(Path(path[1]), url)
    if url.startswith(("https:", "http:")):
        # Azure's packages are only imported if they are needed: they are slow to import.
        try:
            from model_loader.store.blob_store import BlobStore
        except ModuleNotFoundError as exc:
            raise StoreError(
                f"store {redact(url)!r}: {exc.name} is not installed: "
                "pip install -r model_loader/requirements.txt"
            ) from exc
        return BlobStore(url, redact(url))
    raise StoreError(
        f"store {redact(url)!r}: expected file:PATH or "
        "https://<account>.blob.core.windows.net/<container>[/<prefix>]"
    )
