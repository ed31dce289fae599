"""Request ids, compatible with Azure ML's online endpoints.

https://learn.microsoft.com/azure/machine-learning/how-to-inference-server-http, "Request flow"
"""

from collections.abc import Mapping
from random import getrandbits

from app.errors import HeaderTooLarge

REQUEST_ID, CLIENT_REQUEST_ID, MS_REQUEST_ID = "x-request-id", "x-ms-client-request-id", "x-ms-request-id"
# Made by the service, and so unique, unlike the ids of clients: feedback refers to it.
PREDICTION_ID = "x-prediction-id"
MAX_CHARACTERS = 100


def read_ids(headers: Mapping[str, str]) -> tuple[dict[str, str], HeaderTooLarge | None]:
    """Return the response's ids, and the error if the request has an id that is too long.

    `x-request-id` and `x-ms-client-request-id` are echoed if they are printable; the first is generated if it
    is absent. `x-ms-request-id` is the id by which the client knows the request. `x-prediction-id` is always
    generated.

    Args:
        headers: of the request, looked up by lower-case name.
    """
    given = {
        name: value for name in (REQUEST_ID, CLIENT_REQUEST_ID, MS_REQUEST_ID) if (value := headers.get(name))
    }
    unique = f"{getrandbits(128):032x}"
    ids = {REQUEST_ID: unique, PREDICTION_ID: unique}
    if not given:
        ids[MS_REQUEST_ID] = ids[REQUEST_ID]
        return ids, None
    too_large = [name for name, value in given.items() if len(value) > MAX_CHARACTERS]
    ids |= {
        name: value
        for name, value in given.items()
        if name not in too_large and value.isascii() and value.isprintable()
    }
    if MS_REQUEST_ID in ids:
        ids.setdefault(CLIENT_REQUEST_ID, ids[MS_REQUEST_ID])
    else:
        ids[MS_REQUEST_ID] = ids.get(CLIENT_REQUEST_ID, ids[REQUEST_ID])
    return ids, HeaderTooLarge(
        f"expected {too_large[0]} of at most {MAX_CHARACTERS} characters"
    ) if too_large else None
