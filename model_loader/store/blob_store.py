"""Store in Azure Blob storage.

https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations
https://learn.microsoft.com/azure/storage/common/storage-use-azurite
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import unquote

from azure.core import MatchConditions
from azure.core.credentials import AzureSasCredential, TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.storage.blob import ContainerClient, ExponentialRetry

from model_loader.errors import NotFoundError, StoreError
from model_loader.store.blob_errors import to_store_error

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

# Four blocks of a file are transferred at the same time, so a transfer needs 4 × 8 MiB for any file size.
BLOCK_BYTES = 8 * 1024 * 1024
TRANSFER: dict[str, Any] = {"max_concurrency": 4, "validate_content": True}


class _Retry(ExponentialRetry):
    """Azure's exponential retries, 2, 4, 8 and 16 seconds apart; only one if no connection can be made."""

    def __init__(self) -> None:
        super().__init__(
            initial_backoff=0, increment_base=2, random_jitter_range=1, retry_total=4, retry_connect=1
        )

    def increment(
        self, settings: dict[str, Any], request: Any, response: Any = None, error: AzureError | None = None
    ) -> bool:
        """Return whether to retry. A missing credential is not retried: it will still be missing."""
        if isinstance(error, ClientAuthenticationError):
            return False
        return super().increment(settings, request, response, error)


class BlobStore:
    """A container, or the part of it below a prefix, as a `Store`."""

    def __init__(self, url: str, public_url: str) -> None:
        parts = URL.fullmatch(url)
        if not parts:
            raise StoreError(
                f"store {public_url!r}: expected "
                "https://<account>.blob.core.windows.net/<container>[/<prefix>] or "
                f"http://127.0.0.1:<port>/{EMULATOR_ACCOUNT}/<container>[/<prefix>]"
            )
        account_url, container, prefix, sas = parts.groups()
        self.url = public_url
        self._prefix = unquote(prefix).lstrip("/") + "/" if prefix else ""
        self._container = ContainerClient(
            account_url,
            container,
            credential=_credential(account_url, sas),
            retry_policy=_Retry(),
            connection_timeout=3,
            read_timeout=30,
            max_single_put_size=BLOCK_BYTES,
            max_block_size=BLOCK_BYTES,
        )

    def names(self, prefix: str) -> list[str]:
        """List the blobs below `prefix`."""
        with self.wrap_errors(prefix):
            blobs = self._container.list_blob_names(name_starts_with=self._prefix + prefix)
            return sorted(blob.removeprefix(self._prefix) for blob in blobs)

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Download a blob, with its ETag."""
        try:
            with self.wrap_errors(name):
                blob = self._container.download_blob(self._prefix + name, validate_content=True)
                return blob.readall(), blob.properties.etag
        except NotFoundError:
            return None

    def write(self, name: str, content: bytes, etag: str | None) -> None:
        """Put a blob with `If-None-Match: *`, or with `If-Match`."""
        condition: dict[str, Any] = {"overwrite": False}
        if etag is not None:
            condition = {"overwrite": True, "etag": etag, "match_condition": MatchConditions.IfNotModified}
        with self.wrap_errors(name):
            self._container.upload_blob(self._prefix + name, content, validate_content=True, **condition)

    def upload(self, name: str, source: BinaryIO) -> None:
        """Put a blob in parallel blocks, each with its MD5."""
        with self.wrap_errors(name):
            self._container.upload_blob(self._prefix + name, source, overwrite=True, **TRANSFER)

    def remove(self, prefix: str) -> None:
        """Delete the blobs below `prefix`. Azure deletes the blocks of interrupted uploads itself."""
        for name in self.names(prefix):
            with self.wrap_errors(name):
                self._container.delete_blob(self._prefix + name)

    def download(self, name: str, target: BinaryIO) -> None:
        """Get a blob in parallel ranges, each with its MD5."""
        with self.wrap_errors(name):
            self._container.download_blob(self._prefix + name, **TRANSFER).readinto(target)

    @contextmanager
    def wrap_errors(self, name: str) -> Iterator[None]:
        """Raise the exceptions of Azure's packages as StoreError."""
        try:
            yield
        except (AzureError, ValueError) as exc:
            raise to_store_error(self.url, name, exc) from exc


def _credential(account_url: str, sas: str | None) -> AzureSasCredential | TokenCredential | dict[str, str]:
    if sas:
        # At level DEBUG, urllib3 logs the URL of every request, including the SAS.
        logging.getLogger("urllib3").setLevel(logging.WARNING)
        return AzureSasCredential(sas)
    if account_url.endswith(EMULATOR_ACCOUNT):
        key = os.environ.get("AZURE_STORAGE_KEY", EMULATOR_KEY)
        return {"account_name": EMULATOR_ACCOUNT, "account_key": key}
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()
