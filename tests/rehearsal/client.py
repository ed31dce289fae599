"""A client that posts 50 requests a second, whatever happens, and remembers what became of each."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Thread
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

RATE = 50
MOST_AT_ONCE = 64
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Reply:
    """What became of a request.

    Attributes:
        at: when it was sent, by the monotonic clock.
        status: the reply's, or 0 where none came.
        pod: that answered; empty where none is known.
        error: why none came.
    """

    at: float
    status: int
    pod: str
    error: str = ""


class Client:
    """Posts in the background from entering the block to leaving it; `replies` grows meanwhile."""

    def __init__(self, url: str, bodies: list[dict[str, Any]]) -> None:
        """`bodies` are posted in turn."""
        self.replies: list[Reply] = []
        self._address = urlsplit(url).netloc
        self._bodies = [json.dumps(body) for body in bodies]
        self._done = Event()
        self._thread = Thread(target=self._post_all)

    def __enter__(self) -> "Client":
        """Begins."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends, when all requests have."""
        self._done.set()
        self._thread.join()

    def since(self, at: float) -> list[Reply]:
        """The replies to what was sent from `at` on, in the order that they were sent."""
        return sorted((reply for reply in list(self.replies) if reply.at >= at), key=lambda reply: reply.at)

    def _post_all(self) -> None:
        began, count = time.monotonic(), 0
        with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
            while not self._done.wait(max(0.0, began + count / RATE - time.monotonic())):
                pool.submit(self._post, self._bodies[count % len(self._bodies)])
                count += 1

    def _post(self, body: str) -> None:
        """A connection each: on one that is kept, a reload of nginx could meet a request half-way."""
        at = time.monotonic()
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        try:
            connection.request(
                "POST", "/score", body, {"content-type": "application/json", "connection": "close"}
            )
            reply = connection.getresponse()
            reply.read()
            self.replies.append(Reply(at, reply.status, reply.headers.get("x-pod", "")))
        except (OSError, http.client.HTTPException) as exc:
            self.replies.append(Reply(at, 0, "", repr(exc)))
        finally:
            connection.close()
