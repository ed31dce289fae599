"""uvicorn's cycle of request and response, adapted: a malformed body, and the end of the connection."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from app.serving.asgi import AsgiApp, Message, Receive, Send

# In the state of a scope: whether the body that is being received is malformed.
IS_MALFORMED = "is_malformed"


class CycleApp:
    """The ASGI application as uvicorn calls it: the body ends early if it is malformed, and is answered."""

    def __init__(self, app: "AsgiApp") -> None:
        self._app = app

    async def __call__(self, scope: Mapping[str, Any], receive: "Receive", send: "Send") -> None:
        """Answer one request."""

        async def receive_wellformed() -> "Message":
            message = await receive()
            return {"type": "http.disconnect"} if IS_MALFORMED in scope["state"] else message

        await self._app(scope, receive_wellformed, send)


class CycleTransport:
    """A transport that leaves its end to the protocol: uvicorn would close it with bytes that are unread."""

    def __init__(self, cycle: "RequestResponseCycle", end_keep_alive: Callable[[], None]) -> None:
        """
        Args:
            end_keep_alive: called if the connection is to end with the response.
        """
        self._cycle, self._transport, self._end_keep_alive = cycle, cycle.transport, end_keep_alive
        self.write = cycle.transport.write
        self.is_closing = cycle.transport.is_closing

    def close(self) -> None:
        """End the connection: after the response if it is complete, else now."""
        if self._cycle.response_complete:
            self._end_keep_alive()
        else:
            self._transport.close()
