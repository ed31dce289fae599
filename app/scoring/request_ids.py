"""The ids that a request brings and its reply carries, as Azure ML's online endpoints have them too.

https://learn.microsoft.com/azure/machine-learning/how-to-inference-server-http, "Request flow"
"""

from collections.abc import Mapping
from random import getrandbits

from app.errors import HeaderTooLarge

OWN, CLIENT, MS = "x-request-id", "x-ms-client-request-id", "x-ms-request-id"
MAX_CHARACTERS = 100


def read_ids(headers: Mapping[str, str]) -> tuple[dict[str, str], HeaderTooLarge | None]:
    """The reply's ids, and what is wrong with the request's.

    `x-request-id` and `x-ms-client-request-id` are echoed if they are printable, the first is made where
    there is none, and `x-ms-request-id` is the one that the client knows the request by.

    Args:
        headers: of the request, looked up by name in lower case.
    """
    given = {name: value for name in (OWN, CLIENT, MS) if (value := headers.get(name))}
    ids = {OWN: f"{getrandbits(128):032x}"}
    if not given:
        ids[MS] = ids[OWN]
        return ids, None
    too_large = [name for name, value in given.items() if len(value) > MAX_CHARACTERS]
    ids |= {
        name: value
        for name, value in given.items()
        if name not in too_large and value.isascii() and value.isprintable()
    }
    if MS in ids:
        ids.setdefault(CLIENT, ids[MS])
    else:
        ids[MS] = ids.get(CLIENT, ids[OWN])
    return ids, HeaderTooLarge(
        f"expected {too_large[0]} of at most {MAX_CHARACTERS} characters"
    ) if too_large else None
