"""HTTP/1.1 messages: uvicorn's protocol, with llhttp, which alone decides where a message begins and ends.

https://www.rfc-editor.org/rfc/rfc9112, sections 2.2, 6 and 7
https://www.rfc-editor.org/rfc/rfc9110, section 7.8, Upgrade
"""

from asyncio import Transport
from time import monotonic
from typing import TYPE_CHECKING, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.serving.asgi_cycle import IS_MALFORMED, CycleTransport
from app.serving.http_connection import HttpConnection
from app.serving.http_head import (
    CHUNKED,
    Headers,
    RefusedMessage,
    check_headers,
    head_without_upgrade,
    path_and_query,
)
from app.serving.resting_connection import RestingConnection

if TYPE_CHECKING:  # the master imports this module, and must not import ONNX Runtime
    from app.scoring.scorer import Response
    from app.serving.connections import Connections

# Of a request line with its headers, and of the parts of a chunked body that are not content.
MAX_HEAD_BYTES = 64 * 1024
LARGE_BODY_BYTES = 64 * 1024
TOO_LARGE_HEAD = f"expected a head of at most {MAX_HEAD_BYTES} bytes, got more"


class HttpProtocol(HttpConnection):
    """A connection on which every request goes to the ASGI application, in a task."""

    def __init__(self, shared: "Connections", resting: RestingConnection) -> None:
        super().__init__(shared, resting)
        self._keep_alive = True
        self._head_bytes = 0
        # Of the part that is parsed.
        self._content_bytes = 0
        # A head that asks for another protocol, without that line.
        self._plain_head = b""
        # The response to a malformed message that follows the current request.
        self._refusal: Response | None = None

    def feed(self, part: bytes) -> int:
        """Parse a part of the data; return how many of its bytes were parsed."""
        tail, self.head_tail = self.head_tail, b""
        self._content_bytes, self.has_small_chunks = 0, False
        if self._head_bytes + len(part) > MAX_HEAD_BYTES and not self.is_in_body:
            self._refuse(431, TOO_LARGE_HEAD)
            return len(part)
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade as exc:
            # httptools does not read the content of such a request, and would take it for the next request.
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.feed(self._plain_head)
            return int(exc.args[0])
        except httptools.HttpParserCallbackError as exc:
            if not isinstance(exc.__context__, RefusedMessage):
                raise
            self._refuse(exc.__context__.status, str(exc.__context__))
        except httptools.HttpParserError as exc:
            self._refuse(400, f"malformed HTTP request: {str(exc)[:200]}")
        else:
            if self.is_in_head or (self.is_in_body and self.missing_bytes == CHUNKED):
                self.head_tail = (tail + part[-3:])[-3:]
                self._head_bytes = 0 if self._content_bytes else self._head_bytes + len(part)
                self.has_small_chunks = self.is_in_body and 2 * self._content_bytes < len(part)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse(431, TOO_LARGE_HEAD)
                elif self.first_head is not None:
                    self.first_head += part
        return len(part)

    def on_message_begin(self) -> None:
        """See `httptools.HttpRequestParser`."""
        self.url = b""
        self.headers = []
        self.is_in_head = True
        self._head_bytes = 0
        self.last_active, self.head_began = self.head_began or monotonic(), 0.0

    def on_header(self, name: bytes, value: bytes) -> None:
        """See `httptools.HttpRequestParser`; called for the trailers of a chunked body, too."""
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head, and start to answer."""
        headers, self.headers = self.headers, []
        if self.parser.should_upgrade():
            method = self.parser.get_method()
            if method == b"CONNECT":
                raise RefusedMessage(501, "CONNECT is not supported")
            self._plain_head = head_without_upgrade(method, self.url, self.parser.get_http_version(), headers)
            return
        self.is_in_head = False
        self._head_bytes = 0
        self._plain_head, self.first_head = b"", None
        if self.is_responding or self.is_lingering:
            raise RefusedMessage(400, "malformed HTTP request: expected the lines of a head to end with CRLF")
        if self.url[:1] != b"/":
            self.url = path_and_query(self.url)
        self._keep_alive = self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
        self.is_in_body = self.is_responding = True
        self.start(headers)

    def start(self, headers: Headers) -> None:
        """Start to answer a request.

        Args:
            headers: as they were received.
        """
        lowered = self.check_head(headers)
        if self.is_surplus and not self.shared.app.is_probe(self.url.partition(b"?")[0].decode("latin-1")):
            raise RefusedMessage(503, "too many connections")
        url = self.url
        super().on_message_begin()
        self.url = url
        self.headers.extend(lowered)
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in lowered
        )
        try:
            super().on_headers_complete()
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError, AttributeError) as exc:
            raise RefusedMessage(400, "expected an absolute path as the request's target") from exc
        self.cycle.transport = cast(Transport, CycleTransport(self.cycle, self.end_keep_alive))
        self.headers = []

    def check_head(self, headers: Headers) -> Headers:
        """Return the headers with names in lower case; see `check_headers`."""
        lowered, self.missing_bytes = check_headers(headers, self.parser.get_http_version())
        return lowered

    def on_body(self, body: bytes) -> None:
        """See `httptools.HttpRequestParser`."""
        self.count_content(body)
        if self.is_responding:
            super().on_body(body)

    def count_content(self, body: bytes) -> None:
        """Count the content of a request."""
        if self.missing_bytes > 0:
            self.missing_bytes -= len(body)
        self._content_bytes += len(body)

    def on_message_complete(self) -> None:
        """See `httptools.HttpRequestParser`."""
        if self._plain_head:
            return
        self.is_in_body = False
        if self.is_responding:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next request; called when a response has been passed to the transport."""
        self.server_state.total_requests += 1
        self.is_responding = False
        self.last_active = self.shared.last_response = monotonic()
        if self.transport.is_closing():
            return
        if self._refusal:
            refusal, self._refusal = self._refusal, None
            self._end(refusal)
        elif not self._keep_alive:
            self.half_close()
        elif self.pending or self.flow.read_paused or self.shared.is_crowded:
            self.read_on()

    def respond(self, response: "Response") -> None:
        """Send the response to the current request."""
        if self.transport.is_closing():
            return
        self._keep_alive = self._keep_alive and not self.shared.is_draining
        headers = "".join([f"{name}: {value}\r\n" for name, value in response.headers.items()])
        head = b"%b%bcontent-length: %d\r\n%b%b\r\n" % (
            STATUS_LINE[response.status],
            headers.encode("latin-1"),
            len(response.body),
            self.shared.common_head,
            b"" if self._keep_alive else b"connection: close\r\n",
        )
        if len(response.body) > LARGE_BODY_BYTES:
            self.transport.write(head)  # without a copy of the body
            self.transport.write(response.body)
        else:
            self.transport.write(head + response.body)
        self.on_response_complete()

    def end_keep_alive(self) -> None:
        """End the connection after the current response."""
        self._keep_alive = False

    def _refuse(self, status: int, text: str) -> None:
        """Answer a message that ends the connection, after the response to the request before it, if any."""
        if self.is_lingering:
            return
        if not self.is_in_body:
            response = self.shared.app.refuse(status, text)
            if self.is_responding:
                self._refusal = response
            else:
                self._end(response)
        elif not self.is_responding:
            self.half_close()  # its response is sent already
        elif self.cycle and not self.cycle.response_complete:
            self.is_lingering = True
            self._keep_alive = self.is_in_body = self.cycle.keep_alive = False
            self.scope["state"][IS_MALFORMED] = True
            self.cycle.more_body = False
            self.cycle.message_event.set()
        else:
            self._end(self.shared.app.refuse(status, text))

    def _end(self, response: "Response") -> None:
        self._keep_alive = self.is_in_body = False
        self.respond(response)
