"""Where models are kept: five operations on named objects, and the URLs that choose a backend.

    file:PATH                                                         a directory
    https://<account>.blob.core.windows.net/<container>[/<prefix>]    Azure Blob storage
    http://127.0.0.1:<port>/devstoreaccount1/<container>[/<prefix>]   Azurite, its emulator

Names of objects are paths with `/`, such as `wine/4/model.onnx`.
"""

import re
from pathlib import Path
from typing import BinaryIO, Protocol

from model_loader.errors import StoreError
from model_loader.store.file_store import FileStore


class Store(Protocol):
    """What a backend does. Every method raises StoreError where it cannot be reached or refuses.

    Attributes:
        url: names the store in messages and in `model.lock`; never holds a secret.
    """

    url: str

    def names(self, prefix: str) -> list[str]:
        """All objects under `prefix`, which is empty or ends with `/`, sorted by name."""

    def read(self, name: str) -> tuple[bytes, str] | None:
        """The content of a small object and its ETag, or None where there is none."""

    def write(self, name: str, content: bytes, etag: str | None) -> None:
        """Writes a small object, if nobody else did since it was read.

        Args:
            etag: as `read` gave it; None where there must not be such an object yet.

        Raises:
            ConflictError: there is one, or it has another ETag by now; nothing was written.
        """

    def upload(self, name: str, source: BinaryIO) -> None:
        """Writes an object, read once and in order from the file `source`. Memory does not grow with it."""

    def download(self, name: str, target: BinaryIO) -> None:
        """Writes an object into `target`, which can seek. Memory does not grow with the object.

        Raises:
            NotFoundError: there is no such object.
        """


def open_store(url: str) -> Store:
    """The store at `url`. Nothing is connected to before it is used.

    Raises:
        StoreError: no backend has such URLs.
    """
    if path := re.fullmatch(r"file:(?!//[^/])(.+)", url):
        return FileStore(Path(path[1]), url)
    if url.startswith(("https:", "http:")):
        # Azure's packages are loaded for those who use them.
        try:
            from model_loader.store.blob_store import BlobStore
        except ModuleNotFoundError as exc:
            raise StoreError(
                f"store {redact(url)!r}: {exc.name} is missing: pip install -r model_loader/requirements.txt"
            ) from exc
        return BlobStore(url, redact(url))
    raise StoreError(
        f"store {redact(url)!r}: expected file:PATH or "
        "https://<account>.blob.core.windows.net/<container>[/<prefix>]"
    )


def redact(url: str) -> str:
    """`url` without what may be secret: a SAS is a query, a password stands before `@`."""
    return re.sub(r"//[^/]*@", "//", url.partition("?")[0]).rstrip("/")
