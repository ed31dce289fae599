"""Messages for the exceptions of Azure's packages."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from requests import RequestException

from model_loader.errors import ConflictError, DeniedError, NotFoundError, StoreError
from model_loader.store.blob_advice import ADVICE, ROLES

# The last one is for an identity that may only create blobs: permissions are checked before conditions.
CONFLICTS = (
    "BlobAlreadyExists",
    "BlobOverwritten",
    "ConditionNotMet",
    "TargetConditionNotMet",
    "UnauthorizedBlobOverwrite",
)
DENIED = "AuthorizationPermissionMismatch"
# Azure rejects a request whose date differs by more than this.
CLOCK_SECONDS = 15 * 60
SAS_TIMES = re.compile(r"Start \[(.*?)\] - Expiry \[(.*?)\] - Current \[(.*?)\]")


def to_store_error(url: str, name: str, exc: Exception) -> StoreError:
    """Convert an exception of Azure's packages, or of requests below them.

    Args:
        url: the store's, without secrets.
        name: of the object that was read or written.
    """
    code = error_code(exc)
    status = getattr(exc, "status_code", None)
    if code == "BlobNotFound":
        return NotFoundError(
            f"{name} is not in the store {url}; if it was deleted, restore it with 'az storage blob undelete'"
        )
    if code in CONFLICTS:
        return ConflictError(f"{name} in the store {url} was written by somebody else")
    if status in (400, 401, 403) and (minutes := _clock_error(exc)):
        return StoreError(
            f"the store {url} rejects the request ({code}): the clock of this machine is {minutes} minutes "
            "off; set it"
        )
    if code in ADVICE:
        kind = DeniedError if code == DENIED else StoreError
        return kind(ADVICE[code].format(name=name, url=url, code=code))
    if status in (401, 403):
        return StoreError(f"the store {url} rejects the credential ({code}): {_credential_advice(exc)}")
    if status in (429, 503):
        return StoreError(f"the store {url} is busy ({code or status}): try again later")
    if isinstance(exc, ClientAuthenticationError):
        return StoreError(
            f"no usable credential for the store {url}: sign in with 'az login', give the workload an "
            "identity, or put a SAS into MODEL_STORE"
        )
    if isinstance(exc, ServiceRequestError | ServiceResponseError | RequestException):
        return StoreError(f"cannot reach the store {url}: check the URL and the network")
    found = code or status or type(exc).__name__
    return StoreError(f"the store {url} answered {found} for {name!r}: check the URL, or try again")


def error_code(exc: Exception) -> str | None:
    """Return the error code of Azure's response."""
    code = getattr(exc, "error_code", None)
    return getattr(code, "value", code)


def _credential_advice(exc: Exception) -> str:
    """Return what to do about a rejected credential, from the response's detail, which is not printed."""
    info: dict[str, Any] = getattr(exc, "additional_info", {})
    detail = str(info.get("authenticationerrordetail"))
    if times := SAS_TIMES.search(detail):
        start, expiry, current = (parsedate_to_datetime(time) if time else None for time in times.groups())
        if start and current and start > current:
            return f"the SAS is not valid before {start:%Y-%m-%d %H:%M} UTC: take one that starts earlier"
        return f"the SAS has expired at {expiry:%Y-%m-%d %H:%M} UTC: renew it" if expiry else "renew the SAS"
    if "Signature did not match" in detail:
        return "its signature does not match: copy the whole SAS, and quote it, as a shell ends words at '&'"
    return f"renew the SAS, or {ROLES}"


def _clock_error(exc: Exception) -> int | None:
    """Return by how many minutes this machine's clock differs from the server's, if it is too much."""
    if not isinstance(exc, HttpResponseError) or exc.response is None:
        return None
    headers: Any = getattr(exc.response, "headers", {})
    if not (date := headers.get("Date")):
        return None
    seconds = abs((parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())
    return round(seconds / 60) if seconds > CLOCK_SECONDS else None
