"""Store in Azure Blob storage.

https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations
https://learn.microsoft.com/azure/storage/common/storage-use-azurite
"""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote

from azure.core import MatchConditions
from azure.core.credentials import AzureSasCredential, TokenCredential
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.blob import ContainerClient
from requests import RequestException

from model_loader.errors import NotFoundError, StoreError
from model_loader.store.blob_errors import error_code, to_store_error
from model_loader.store.blob_retries import BROKEN_CONNECTION, Retry, retry_broken
from model_loader.store.names import check_object_name, check_small, is_object_name
from model_loader.store.secrets import has_secret, hide_in_logs, printable_cause

EMULATOR_ACCOUNT = "devstoreaccount1"
# Published by Microsoft, the same in every emulator.
EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

# Other hosts are rejected: a URL with another host would receive our token or SAS.
URL = re.compile(
    r"""
    (https://[a-z0-9.-]+\.blob\.
        (?:core\.windows\.net|storage\.azure\.net|core\.usgovcloudapi\.net|core\.chinacloudapi\.cn)
    |http://(?:127\.0\.0\.1|localhost):\d+/devstoreaccount1)
    /([^/?\#]+)            # container
    ((?:/[^/?\#]+)*)/?     # prefix
    (?:\?(.*))?            # SAS
    """,
    re.VERBOSE,
)

# Four blocks of a file are transferred at the same time.
CONCURRENCY = 4
UPLOAD_BYTES = 8 * 1024 * 1024
# Azure takes up to 5,000 MiB in one request. Unlike blocks, that needs no permission to overwrite.
WRITE_BYTES = 1024 * 1024 * 1024
# Azure calculates the MD5 of a range of up to 4 MiB.
DOWNLOAD_BYTES = 4 * 1024 * 1024
MIN_DOWNLOAD_BYTES = 64 * 1024
T = TypeVar("T")


class BlobStore:
    """A container, or the part of it below a prefix, as a `Store`."""

    def __init__(self, url: str, public_url: str) -> None:
        parts = URL.fullmatch(url)
        if not parts or has_secret(url.partition("?")[0]):
            raise StoreError(
                f"store {public_url!r}: expected "
                "https://<account>.blob.core.windows.net/<container>[/<prefix>] or "
                f"http://127.0.0.1:<port>/{EMULATOR_ACCOUNT}/<container>[/<prefix>]"
            )
        account_url, container, prefix, sas = parts.groups()
        self.url = public_url
        self._is_emulated = account_url.endswith(EMULATOR_ACCOUNT)
        self._prefix = check_object_name(unquote(prefix).lstrip("/"), public_url) + "/" if prefix else ""
        credential = _credential(account_url, sas)

        def client(max_single_put_size: int) -> ContainerClient:
            return ContainerClient(
                account_url,
                container,
                credential=credential,
                retry_policy=Retry(),
                connection_timeout=3,
                read_timeout=30,
                max_single_put_size=max_single_put_size,
                max_block_size=UPLOAD_BYTES,
                max_single_get_size=DOWNLOAD_BYTES,
                max_chunk_get_size=DOWNLOAD_BYTES,
            )

        self._container = client(UPLOAD_BYTES)
        self._writer = client(WRITE_BYTES)

    def names(self, prefix: str) -> list[str]:
        """List the blobs below `prefix`."""

        def list_names() -> list[str]:
            blobs = self._container.list_blob_names(name_starts_with=self._prefix + prefix)
            names = (blob.removeprefix(self._prefix) for blob in blobs)
            return sorted(name for name in names if is_object_name(name))

        return self._run(prefix, list_names)

    def etags(self, prefix: str) -> dict[str, str]:
        """List the blobs below `prefix`, with their ETags."""

        def list_blobs() -> dict[str, str]:
            blobs = self._container.list_blobs(name_starts_with=self._prefix + prefix)
            found = {blob.name.removeprefix(self._prefix): blob.etag for blob in blobs}
            return {name: found[name] for name in sorted(filter(is_object_name, found))}

        return self._run(prefix, list_blobs)

    def etag(self, name: str) -> str | None:
        """Return the ETag of a blob. A list of blobs has it without the quotes of the header."""
        path = self._path(name)
        try:
            found = self._run(name, lambda: self._container.get_blob_client(path).get_blob_properties())
        except NotFoundError:
            return None
        return str(found.etag).strip('"')

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Download a blob, with its ETag."""
        path = self._path(name)

        def download() -> tuple[bytes, str]:
            blob = self._container.download_blob(path, validate_content=True)
            check_small(name, blob.size, self.url)
            return blob.readall(), blob.properties.etag

        try:
            return self._run(name, lambda: retry_broken(download))
        except NotFoundError:
            return None

    def write(self, name: str, content: bytes, etag: str | None) -> None:
        """Put a blob in one request, with `If-None-Match: *` or `If-Match`."""
        path = self._path(name)
        condition: dict[str, Any] = {"overwrite": False}
        if etag is not None:
            condition = {"overwrite": True, "etag": etag, "match_condition": MatchConditions.IfNotModified}
        self._run(name, lambda: self._writer.upload_blob(path, content, validate_content=True, **condition))

    def upload(self, name: str, source: BinaryIO) -> None:
        """Put a blob in parallel blocks, each with its MD5."""
        path = self._path(name)
        with self.wrap_errors(name):
            self._container.upload_blob(
                path, source, overwrite=True, max_concurrency=CONCURRENCY, validate_content=True
            )

    def remove(self, prefix: str) -> None:
        """Delete the blobs below `prefix`. Azure deletes the blocks of interrupted uploads itself."""
        for name in self.names(prefix):
            with self.wrap_errors(name):
                self._container.delete_blob(self._path(name))

    def delete(self, name: str) -> None:
        """Delete a blob."""
        path = self._path(name)
        with suppress(NotFoundError):
            self._run(name, lambda: self._container.delete_blob(path))

    def chunks(self, name: str, start: int = 0) -> Iterator[bytes]:
        """Get a blob in parallel ranges, each with its MD5. A range whose connection breaks is repeated."""
        path = self._path(name)
        properties = self._run(name, lambda: self._container.get_blob_client(path).get_blob_properties())
        pending: deque[Future[bytes]] = deque()
        pool = ThreadPoolExecutor(CONCURRENCY)
        try:
            for offset in range(start, properties.size, DOWNLOAD_BYTES):
                end = min(offset + DOWNLOAD_BYTES, properties.size)
                pending.append(pool.submit(self._range, path, offset, end, properties.etag))
                if len(pending) == CONCURRENCY:
                    yield self._run(name, pending.popleft().result)
            while pending:
                yield self._run(name, pending.popleft().result)
        finally:
            pool.shutdown(cancel_futures=True)

    def _range(self, path: str, offset: int, end: int, etag: str) -> bytes:
        """Download a range. After each broken connection, a smaller part of what remains is requested."""
        parts = []
        size = end - offset

        def download() -> bytes:
            nonlocal size
            length = min(size, end - offset)
            # For the next attempt, if this one fails.
            size = max(length // 2, MIN_DOWNLOAD_BYTES)
            content = self._container.download_blob(
                path,
                offset=offset,
                length=length,
                etag=etag,
                match_condition=MatchConditions.IfNotModified,
                validate_content=True,
                max_concurrency=1,
            ).readall()
            size = length
            return content

        while offset < end:
            parts.append(retry_broken(download, BROKEN_CONNECTION))
            offset += len(parts[-1])
        return b"".join(parts)

    def _path(self, name: str) -> str:
        return self._prefix + check_object_name(name, self.url)

    def _run(self, name: str, operation: Callable[[], T]) -> T:
        """Run an operation. A missing container is created if it is the emulator's."""
        with self.wrap_errors(name):
            try:
                return operation()
            except ResourceNotFoundError as exc:
                if not self._is_emulated or error_code(exc) != "ContainerNotFound":
                    raise
                self._container.create_container()
                return operation()

    @contextmanager
    def wrap_errors(self, name: str) -> Iterator[None]:
        """Raise the exceptions of Azure's packages, and of requests below them, as StoreError."""
        try:
            yield
        except (AzureError, RequestException, ValueError) as exc:
            raise to_store_error(self.url, name, exc) from printable_cause(exc)


def _credential(account_url: str, sas: str | None) -> AzureSasCredential | TokenCredential | dict[str, str]:
    if sas:
        hide_in_logs()
        return AzureSasCredential(sas)
    if account_url.endswith(EMULATOR_ACCOUNT):
        key = os.environ.get("AZURE_STORAGE_KEY", EMULATOR_KEY)
        return {"account_name": EMULATOR_ACCOUNT, "account_key": key}
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()
