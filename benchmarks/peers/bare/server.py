"""The least that an ASGI application can do: it reads a request and sends what it always sends."""

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

SAMPLES = Path(os.environ["MODEL_DIR"]) / "samples.json"
REPLY = json.dumps({"outputs": json.loads(SAMPLES.read_text())[0]["outputs"]}).encode()
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(REPLY))],
}
BODY = {"type": "http.response.body", "body": REPLY}


async def application(
    scope: Mapping[str, Any],
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    """Answers every request alike."""
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        await send(START)
        await send(BODY)
