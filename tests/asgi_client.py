"""A test client of the ASGI application with the interface of Flask's test client."""

import asyncio
from typing import Any

import uvloop
from flask import Flask
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Response

from app.serving.asgi import AsgiApp


class TextResponse(Response):
    """A response with its body as text, as Flask's client has it."""

    @property
    def text(self) -> str:
        """The body."""
        return self.get_data(as_text=True)


class AsgiClient:
    """Sends requests to the ASGI application, one at a time."""

    def __init__(self, application: Flask) -> None:
        self.application = application
        self._asgi = AsgiApp(application)

    def get(self, path: str, **request: Any) -> Response:
        """Send a GET."""
        return self.open(path, method="GET", **request)

    def post(self, path: str, **request: Any) -> Response:
        """Send a POST."""
        return self.open(path, method="POST", **request)

    def open(self, path: str, **request: Any) -> Response:
        """Send any request, described as for werkzeug's EnvironBuilder."""
        builder = EnvironBuilder(path, **request)
        try:
            return uvloop.run(self._send(builder.get_environ()))
        finally:
            builder.close()

    async def _send(self, environ: dict[str, Any]) -> Response:
        headers = [
            (name.removeprefix("HTTP_").replace("_", "-").lower().encode(), value.encode("latin-1"))
            for name, value in environ.items()
            if value and (name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH"))
        ]
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"].encode("latin-1").decode(),
            "query_string": environ["QUERY_STRING"].encode(),
            "headers": headers,
        }
        is_sent = asyncio.Event()
        start: dict[str, Any] = {}
        body = bytearray()

        async def receive() -> dict[str, Any]:
            if is_sent.is_set():
                await asyncio.Event().wait()  # the client does not disconnect
            is_sent.set()
            return {"type": "http.request", "body": environ["wsgi.input"].read(), "more_body": False}

        async def send(message: Any) -> None:
            start.update(message if message["type"] == "http.response.start" else {})
            body.extend(message.get("body", b""))

        await self._asgi(scope, receive, send)
        self._asgi.buffer.flush()
        pairs = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
        return TextResponse(bytes(body), start["status"], pairs)
