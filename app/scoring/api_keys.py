"""API keys, which authenticate and name callers."""

import hashlib
import hmac
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from app.errors import SettingsError, Unauthorized

logger = logging.getLogger("service")

_LINE = re.compile(r"(?P<caller>[A-Za-z0-9._-]{1,64}):(?P<sha256>[0-9a-fA-F]{64})")


class ApiKeys:
    """The API keys of a file, which is read again when it changes.

    A line is `caller:sha256-of-key`; empty lines and lines that begin with `#` are ignored. A caller may have
    several lines, so that keys can be rotated. The keys themselves are not stored.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            SettingsError: the file cannot be read, or a line is invalid.
        """
        self._path = path
        self._stamp = _stamp(path)
        self._keys = _read(path)

    def caller(self, headers: Mapping[str, str]) -> str:
        """Return the caller that the request's key belongs to.

        Args:
            headers: with the key as `Authorization: Bearer …` or `x-api-key`; names in lower case.

        Raises:
            Unauthorized: the key is missing or unknown.
        """
        self._refresh()
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not key:
            raise Unauthorized("expected an API key as 'Authorization: Bearer …' or 'x-api-key'")
        digest = hashlib.sha256(key.encode("latin-1")).hexdigest()  # the bytes on the wire
        found = None
        # Compare every key in constant time, so that the duration reveals nothing about the keys.
        for sha256, caller in self._keys.items():
            if hmac.compare_digest(sha256, digest):
                found = caller
        if found is None:
            raise Unauthorized("the API key is not known")
        return found

    def _refresh(self) -> None:
        """Read the file if it has changed; if it is invalid, log that once and keep the previous keys."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = _read(self._path)
        except SettingsError as exc:
            logger.error("%s; keeping the previous keys", exc)  # noqa: TRY400 (the traceback adds nothing)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return a value that changes with the file; None if the file is missing.

    Kubernetes swaps a symlink, and editors replace the file or change its time.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"API_KEYS_FILE {path} cannot be read: {exc}") from exc
    keys: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise SettingsError(f"API_KEYS_FILE {path}, line {number}: expected caller:sha256-of-key")
        sha256 = match["sha256"].lower()
        if keys.setdefault(sha256, match["caller"]) != match["caller"]:
            raise SettingsError(
                f"API_KEYS_FILE {path}, line {number}: the key also belongs to another caller"
            )
    if not keys:
        raise SettingsError(f"API_KEYS_FILE {path} contains no key")
    return keys
