"""Heads of requests: what is checked before a request is answered.

https://www.rfc-editor.org/rfc/rfc9112, sections 3.2, 5 and 6.1
https://www.rfc-editor.org/rfc/rfc9110, sections 7.2, Host, and 7.8, Upgrade
"""

import re
from collections.abc import Sequence
from typing import TypeAlias

Headers: TypeAlias = list[tuple[bytes, bytes]]

MAX_HEADERS = 100
# Content length of a chunked body.
CHUNKED = -1
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(:[0-9]*)?")
_ABSOLUTE_FORM = re.compile(rb"(?i)https?://([^/?#@]+)(/[^?]*)?(\?.*)?")


class RefusedMessage(Exception):
    """A message that ends its connection, with the status and text of the response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def check_headers(headers: Headers, version: str) -> tuple[Headers, int]:
    """Return the headers with names in lower case, and the length of the content or CHUNKED.

    Names with `_` are dropped: WSGI could not distinguish them from those with `-`.

    Args:
        version: of HTTP.

    Raises:
        RefusedMessage: there are too many headers, Host is missing or malformed, or the transfer coding is
            not supported.
    """
    if len(headers) > MAX_HEADERS:
        raise RefusedMessage(431, f"expected at most {MAX_HEADERS} headers, got {len(headers)}")
    lowered = [(name.lower(), value) for name, value in headers if b"_" not in name]
    hosts = _values(lowered, b"host")
    if len(hosts) != 1 and (hosts or version != "1.0"):
        raise RefusedMessage(400, f"expected one Host header, got {len(hosts)}")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise RefusedMessage(400, "expected Host to be a name or address, and optionally a port")
    if codings := _values(lowered, b"transfer-encoding"):
        # llhttp reads any list that ends with `chunked`, and a proxy may read another one.
        if version == "1.0" or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise RefusedMessage(501, "expected no transfer coding but `chunked`, in HTTP/1.1")
        return lowered, CHUNKED
    lengths = _values(lowered, b"content-length")
    return lowered, int(lengths[0]) if lengths else 0


def path_and_query(target: bytes) -> bytes:
    """Return the path and query of a target in absolute form, RFC 9112, section 3.2.2.

    Raises:
        RefusedMessage: the target has another form.
    """
    match = _ABSOLUTE_FORM.fullmatch(target)
    if not match or not _HOST.fullmatch(match[1]):
        raise RefusedMessage(400, "expected the request's target to be a path or an http URL")
    return (match[2] or b"/") + (match[3] or b"")


def head_without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """Return a head that is the same but for its Upgrade header."""
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    lines += [b"%b: %b" % (name, value) for name, value in headers if name.lower() != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])


def _values(headers: Headers, wanted: bytes) -> Sequence[bytes]:
    return [value for name, value in headers if name == wanted]
