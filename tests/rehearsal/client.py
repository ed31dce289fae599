"""A client that sends 50 requests a second and records the outcome of each."""

import http.client
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from threading import Event, Thread
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

REQUESTS_PER_S = 50
MAX_CONCURRENT = 64
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Response:
    """The outcome of one request.

    Attributes:
        at: when the request was sent, by the monotonic clock.
        status: HTTP status, or 0 if there was no response.
        pod: name of the pod that responded; empty if unknown.
        error: why there was no response.
    """

    at: float
    status: int
    pod: str
    error: str = ""


@dataclass(frozen=True)
class Request:
    """A request to send.

    Attributes:
        answered: called with the prediction id of its response, if the status is 200.
    """

    body: str
    answered: Callable[[str], None] = lambda prediction_id: None


class Client:
    """A context manager that sends requests in the background and collects `responses`."""

    def __init__(self, url: str, bodies: list[dict[str, Any]]) -> None:
        """Create a client that sends `bodies` in turn."""
        self.responses: list[Response] = []
        self._address = urlsplit(url).netloc
        requests = cycle([Request(json.dumps(body)) for body in bodies])
        self._own: Callable[[], Request] = lambda: next(requests)
        self._source = self._own
        self._stop = Event()
        self._paused = Event()
        self._thread = Thread(target=self._send_all)

    def __enter__(self) -> "Client":
        """Start sending requests."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop sending, and wait for the requests in flight."""
        self._stop.set()
        self._thread.join()

    def pause(self) -> None:
        """Send no requests until `resume`."""
        self._paused.set()

    def resume(self) -> None:
        """Send requests again."""
        self._paused.clear()

    def use(self, source: Callable[[], Request] | None) -> None:
        """Send the requests of another source from now on; None: the client's own."""
        self._source = source or self._own

    def since(self, at: float) -> list[Response]:
        """Return the responses to requests sent at or after `at`, in the order of sending."""
        responses = (response for response in list(self.responses) if response.at >= at)
        return sorted(responses, key=lambda response: response.at)

    def _send_all(self) -> None:
        start, count = time.monotonic(), 0
        with ThreadPoolExecutor(MAX_CONCURRENT) as pool:
            while not self._stop.wait(max(0.0, start + count / REQUESTS_PER_S - time.monotonic())):
                if not self._paused.is_set():
                    pool.submit(self._send, self._source())
                count += 1

    def _send(self, request: Request) -> None:
        """Send one request on its own connection.

        On a keep-alive connection, a reload of nginx could close the connection while a request is sent.
        """
        at = time.monotonic()
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        try:
            connection.request(
                "POST", "/score", request.body, {"content-type": "application/json", "connection": "close"}
            )
            response = connection.getresponse()
            response.read()
            self.responses.append(Response(at, response.status, response.headers.get("x-pod", "")))
            if response.status == 200:
                request.answered(response.headers.get("x-prediction-id", ""))
        except (OSError, http.client.HTTPException) as exc:
            self.responses.append(Response(at, 0, "", repr(exc)))
        finally:
            connection.close()
