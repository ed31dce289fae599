"""Callers, identified by an API key or by a header from the ingress or service mesh."""

import re
from collections.abc import Mapping

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

    def __init__(self, api_keys: ApiKeys | None = None, header: str | None = None) -> None:
        """
        Args:
            api_keys: keys that callers must have; None disables authentication, and `header` is read instead.
            header: name, in lower case, of the header with the caller's name from the proxy in front, if any.
        """
        self._api_keys = api_keys
        self._header = header
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
        if name not in self._names:
            if len(self._names) >= MAX_CALLERS or not _NAME.fullmatch(name):
                return OTHER
            self._names.add(name)
        return name
