"""Credentials in text: recognized in every form that they are copied in, and never printed.

https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string
https://learn.microsoft.com/rest/api/storageservices/create-service-sas
"""

import logging
import re
import traceback
from collections.abc import Iterator
from urllib.parse import unquote

HIDDEN = "[credential removed]"
CONNECTION_STRING = re.compile(
    r"\b(?:AccountName|AccountKey|BlobEndpoint|EndpointsProtocol)\s*=", re.IGNORECASE
)
SECRET = re.compile(
    r"""
    (?<![a-z])(?:sig|signature|accountkey|sharedaccesskey|sharedaccesssignature|password|pwd|secret|token)\s*=
    |\bbearer\s+\S
    |\beyJ[\w-]{8,}\.[\w-]+              # JSON web token
    |:/{1,2}[^/\s@]*:[^\s@]*@(?!sha256:) # user:password@host; a path has one slash
    |[a-z0-9+/]{40,}={1,2}(?![\w=])      # account key, or signature of a SAS, in base64
    """,
    re.VERBOSE | re.IGNORECASE,
)
# A value that is no store's URL is printed if it is as short and plain as a path.
PLAIN = re.compile(r"[\w.:/~-]{0,30}")


def has_secret(text: str) -> bool:
    """Return whether `text` has a credential, as it stands or percent-encoded up to twice."""
    once = unquote(text)
    return any(SECRET.search(decoded) for decoded in (text, once, unquote(once)))


def scrub(text: str) -> str:
    """Replace every word of `text` that has a credential."""
    text = re.sub(r"\bbearer\s+\S+", HIDDEN, text, flags=re.IGNORECASE)
    return re.sub(r"\S+", lambda word: HIDDEN if has_secret(word[0]) else word[0], text)


def redact(url: str) -> str:
    """Return the part of a store's URL that identifies the store: without query, user and password."""
    plain = re.sub(r"//[^/]*@", "//", url.partition("?")[0]).rstrip("/")
    is_url = url.startswith(("file:", "https:", "http:"))
    if has_secret(plain) or CONNECTION_STRING.search(unquote(plain)):
        return HIDDEN
    return plain if is_url or PLAIN.fullmatch(plain) else HIDDEN


def printable_cause(exc: BaseException) -> BaseException | None:
    """Return `exc` as the cause of another exception; None if a traceback of it would print a credential."""
    return (
        None
        if any(has_secret("".join(traceback.format_exception_only(each))) for each in _chain(exc))
        else exc
    )


def hide_in_logs() -> None:
    """Keep the URLs of requests out of the log if they have a SAS. At level DEBUG, urllib3 logs each one."""
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(_has_no_secret)


def _has_no_secret(record: logging.LogRecord) -> bool:
    return not has_secret(record.getMessage())


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    while exc:
        yield exc
        exc = exc.__cause__ or exc.__context__
