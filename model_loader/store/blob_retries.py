"""Retries of requests to Azure Blob storage, beyond those of Azure's packages.

azure-storage-blob repeats requests that were answered with 408 or 500 and above, and those whose connection
broke before the response. It neither repeats 429, nor waits as long as `Retry-After` says, nor repeats a
request whose connection breaks within the body if the MD5 of the body is verified.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import RetryPolicy
from azure.storage.blob import ExponentialRetry
from requests import RequestException

BUSY = (429, 503)
# A store that is busy for longer than this is an error.
BUSY_SECONDS = 60.0
MAX_DELAY_SECONDS = 8.0
# An operation whose connection breaks again and again is given up after these attempts, or after this time.
ATTEMPTS = 12
BROKEN_SECONDS = 60.0
# requests raises its own exceptions if the connection breaks within a body whose MD5 is verified.
BROKEN_BODY = (RequestException, IncompleteReadError)
BROKEN_CONNECTION = (*BROKEN_BODY, ServiceResponseError, ServiceRequestError)
T = TypeVar("T")


class Retry(ExponentialRetry):
    """Azure's exponential retries, 2, 4, 8 and 16 seconds apart; only one if no connection can be made."""

    def __init__(self) -> None:
        super().__init__(
            initial_backoff=0, increment_base=2, random_jitter_range=1, retry_total=4, retry_connect=1
        )

    def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Send a request, and send it again while the store answers that it is busy."""
        deadline = time.monotonic() + BUSY_SECONDS
        delay = 0.5
        while True:
            response: PipelineResponse[Any, Any] = super().send(request)  # type: ignore[no-untyped-call]
            if response.http_response.status_code not in BUSY:
                return response
            wait = max(RetryPolicy().get_retry_after(response) or 0, delay)
            if time.monotonic() + wait > deadline:
                return response
            time.sleep(wait)
            delay = min(2 * delay, MAX_DELAY_SECONDS)

    def increment(
        self, settings: dict[str, Any], request: Any, response: Any = None, error: AzureError | None = None
    ) -> bool:
        """Return whether to retry.

        A missing credential is not retried: it will still be missing. `send` waits for a busy store.
        """
        if isinstance(error, ClientAuthenticationError) or getattr(response, "status_code", None) in BUSY:
            return False
        return super().increment(settings, request, response, error)


def retry_broken(operation: Callable[[], T], broken: tuple[type[Exception], ...] = BROKEN_BODY) -> T:
    """Run an operation, and run it again if it raises one of `broken`."""
    deadline = time.monotonic() + BROKEN_SECONDS
    for attempt in range(1, ATTEMPTS):
        try:
            return operation()
        except (AzureError, RequestException) as exc:
            # Azure's downloader wraps the exception if it has repeated the request itself.
            cause = exc.inner_exception if isinstance(exc, HttpResponseError) else exc
            if not isinstance(cause or exc, broken) or time.monotonic() > deadline:
                raise
        time.sleep(min(0.05 * 2**attempt, 2))
    return operation()
