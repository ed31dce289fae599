"""Callers, identified by an API key or by a header from the ingress or service mesh."""

import re
from collections.abc import Mapping
from pathlib import Path

from app.observability.request_record import ANONYMOUS
from app.scoring.api_keys import ApiKeys

# A header can have any value, and each caller is a time series in every replica.
MAX_CALLERS = 100
OTHER = "other"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,99}")
# https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers, "XFCC": the workload's
# identity is the certificate's URI; the last element describes the nearest client.
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')
_IDENTITY = re.compile(r"(?:^|[;,])\s*URI=([^;,]+)")


class Callers:
    """Identifies the caller of a request, for the log and a label of the metrics."""

    def __init__(
        self, api_keys: ApiKeys | None = None, header: str | None = None, directory: Path | None = None
    ) -> None:
        """
        Args:
            api_keys: keys that callers must have; None disables authentication, and `header` is read instead.
            header: name, in lower case, of the header with the caller's name from the proxy in front, if any.
            directory: where all workers, also those that have ended, share the names; None: not shared.
        """
        self._api_keys = api_keys
        self._header = header
        self._directory = directory
        self._names: set[str] = set()

    def caller(self, headers: Mapping[str, str]) -> str:
        """Return the caller's name.

        It is `anonymous` if there is no name, `other` if it is invalid or MAX_CALLERS others are known.

        Args:
            headers: looked up by lower-case name.

        Raises:
            Unauthorized: authentication is enabled, and the key is missing or unknown.
        """
        if self._api_keys:
            return self._api_keys.caller(headers)
        value = headers.get(self._header) if self._header else None
        if not value:
            return ANONYMOUS
        identities = _IDENTITY.findall(_QUOTED.sub("", value))
        name = identities[-1] if identities else value
        if name in self._names or (_NAME.fullmatch(name) and self._add(name)):
            return name
        return OTHER

    def _add(self, name: str) -> bool:
        """Add a name, after those that other workers have added; return False if there is no room for it."""
        while name not in self._names and len(self._names) < MAX_CALLERS:
            try:
                self._names.add(self._share(len(self._names), name))
            except OSError:  # a full or read-only file system
                return False
        return name in self._names

    def _share(self, number: int, name: str) -> str:
        """Return the shared name with a number; it is the given one if there was none."""
        if self._directory is None:
            return name
        # The target of a symbolic link is text, and unlike a file the link appears with its content.
        link = self._directory / f"caller_{number}"
        try:
            link.symlink_to(name)
        except FileExistsError:
            return str(link.readlink())
        return name
