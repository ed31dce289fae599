"""Who calls: by API key, or by what the ingress or the mesh in front says."""

import re
from collections.abc import Mapping

from app.observability.request_record import ANONYMOUS
from app.scoring.api_keys import ApiKeys

# A header may hold anything, and each caller is a time series in every replica.
MAX_CALLERS = 100
OTHER = "other"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,99}")
# https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers, "XFCC": the workload's
# identity is the URI of the certificate; the last element is that of the nearest.
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')
_IDENTITY = re.compile(r"(?:^|[;,])\s*URI=([^;,]+)")


class Callers:
    """Names the caller of a request, for the log and a label of the metrics."""

    def __init__(self, api_keys: ApiKeys | None = None, header: str | None = None) -> None:
        """
        Args:
            api_keys: whoever calls must have one of them; None: authentication is off, and `header` is read.
            header: in lower case, that whoever is in front writes the caller's name to; None: there is none.
        """
        self._api_keys = api_keys
        self._header = header
        self._names: set[str] = set()

    def caller(self, headers: Mapping[str, str]) -> str:
        """Who calls; `anonymous` where nothing tells, `other` where it is no name, or one too many.

        Args:
            headers: looked up by name in lower case.

        Raises:
            Unauthorized: authentication is on, and the key is missing or wrong.
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
