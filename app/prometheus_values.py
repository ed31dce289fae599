"""Values of the settings that name a Prometheus."""

import re
from urllib.parse import urlsplit

from app.errors import SettingsError


def http_url(value: str) -> str:
    """Return the URL of a server without a slash at its end.

    Raises:
        ValueError: it is not such a URL.
        SettingsError: it has a credential, which the message does not repeat.
    """
    url = urlsplit(value)
    if "@" in url.netloc:
        raise SettingsError("PROMETHEUS_URL has a user name or password: expected a URL without them")
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise ValueError("expected a URL with http or https, without a query")
    return value.rstrip("/")


def selector(value: str) -> str:
    """Return matchers of labels, https://prometheus.io/docs/prometheus/latest/querying/basics.

    Raises:
        ValueError: they are not separated by commas, or one is malformed.
    """
    matcher = r'[A-Za-z_][A-Za-z0-9_]*\s*(=|!=|=~|!~)\s*"([^"\\\n]|\\.)*"'
    if not re.fullmatch(rf"{matcher}(\s*,\s*{matcher})*", value):
        raise ValueError('expected matchers of labels, such as namespace="demo",job="demo"')
    return value
