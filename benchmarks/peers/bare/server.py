"""A minimal ASGI application, which reads a request and sends a constant response."""

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

SAMPLES = Path(os.environ["MODEL_DIR"]) / "samples.json"
RESPONSE = json.dumps({"outputs": json.loads(SAMPLES.read_text())[0]["outputs"]}).encode()
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(RESPONSE))],
}
BODY = {"type": "http.response.body", "body": RESPONSE}


async def application(
    scope: Mapping[str, Any],
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    """Answer every request with the same response."""
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        await send(START)
        await send(BODY)
