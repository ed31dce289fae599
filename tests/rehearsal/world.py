"""A simulated population behind the client: wines, who made them, and labels that come later.

Each request has two wines, drawn around those of the sample's data. What is true of them follows from a
concept, which a scenario can let drift: the same wines then are another grower's. The inputs do not change
with it, so that only labels can tell.
"""

import heapq
import http.client
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tests.rehearsal.client import Request
from training.data import Data, load

FEATURE = 0  # alcohol, which a violation makes negative
WINES = 2  # in a request
# Spread of the wines around those of the sample's data, in standard deviations of their class.
SPREAD = 0.5
LABEL_DELAY_S = (1.0, 4.0)
INTERVAL_S = 0.5
TIMEOUT_S = 10.0
# Class of the sample's data → the true one, before and after the drift. The classes stay equally frequent.
CONCEPT = {0: 0, 1: 1, 2: 2}
DRIFTED = {0: 1, 1: 2, 2: 0}


@dataclass(frozen=True)
class Wine:
    """A wine, and the class that it was drawn from."""

    values: tuple[float, ...]
    drawn: int


class Population:
    """Wines like those of the sample's data, each class as often as the others."""

    def __init__(self, data: Data, seed: int = 1) -> None:
        """Take the data that the wines are drawn around."""
        self._random = random.Random(seed)
        self._rows = {label: data.x[data.y == label].tolist() for label in CONCEPT}
        self._spread = {label: data.x[data.y == label].std(axis=0).tolist() for label in CONCEPT}
        self._lowest, self._highest = data.x.min(axis=0).tolist(), data.x.max(axis=0).tolist()

    def draw(self) -> Wine:
        """Draw a wine whose values are within those of the sample's data."""
        label = self._random.choice(list(CONCEPT))
        row = self._random.choice(self._rows[label])
        values = (
            min(max(value + SPREAD * self._random.gauss(0, spread), lowest), highest)
            for value, spread, lowest, highest in zip(
                row, self._spread[label], self._lowest, self._highest, strict=True
            )
        )
        return Wine(tuple(round(value, 3) for value in values), label)


class World:
    """A context manager that gives the client its requests, and reports what turned out to be true.

    Attributes:
        concept: class of a wine → what is true of it.
        violating_share: share of the wines with a value that the schema does not allow.
        wrong_labels: whether another class than the true one is reported.
        labels: how many were accepted.
        failures: why others were not.
    """

    def __init__(self, url: str) -> None:
        """Create a world whose labels go to the service at `url`."""
        self.concept: Mapping[int, int] = CONCEPT
        self.violating_share = 0.0
        self.wrong_labels = False
        self.labels = 0
        self.failures: list[str] = []
        self._address = urlsplit(url).netloc
        self._population = Population(load())
        self._random = random.Random(2)
        self._due: list[tuple[float, str, tuple[int, ...]]] = []
        self._lock = Lock()
        self._stop = Event()
        self._thread = Thread(target=self._report_all)

    def __enter__(self) -> "World":
        """Start to report labels."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reporting."""
        self._stop.set()
        self._thread.join()

    def drift(self) -> None:
        """Let the concept drift: from now on, other classes are true of the same wines."""
        self.concept = DRIFTED if self.concept is CONCEPT else CONCEPT

    def request(self) -> Request:
        """Return a request, whose labels are reported after a delay."""
        wines = [self._wine() for _ in range(WINES)]
        truths = tuple(truth for _, truth in wines)
        body = json.dumps({"inputs": {"x": [values for values, _ in wines]}})
        return Request(body, lambda prediction_id: self._know(prediction_id, truths))

    def _wine(self) -> tuple[list[float], int]:
        """Return the values of a wine, and the label that is reported."""
        wine = self._population.draw()
        values, truth = list(wine.values), self.concept[wine.drawn]
        if self._random.random() < self.violating_share:
            values[FEATURE] = -values[FEATURE]
        return values, (truth + 1) % len(CONCEPT) if self.wrong_labels else truth

    def _know(self, prediction_id: str, truths: tuple[int, ...]) -> None:
        due = time.monotonic() + self._random.uniform(*LABEL_DELAY_S)
        with self._lock:
            heapq.heappush(self._due, (due, prediction_id, truths))

    def _report_all(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            now, labels = time.monotonic(), []
            with self._lock:
                while self._due and self._due[0][0] <= now:
                    _, prediction_id, truths = heapq.heappop(self._due)
                    labels += [
                        {"id": prediction_id, "row": row, "label": truth} for row, truth in enumerate(truths)
                    ]
            if labels:
                self._report(labels)

    def _report(self, labels: list[dict[str, Any]]) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        headers = {"content-type": "application/json", "connection": "close"}
        try:
            connection.request("POST", "/feedback", json.dumps(labels), headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            if response.status == 202:
                self.labels += len(labels)
            else:
                self.failures.append(f"{response.status}: {text:.200}")
        except (OSError, http.client.HTTPException) as exc:
            self.failures.append(repr(exc))
        finally:
            connection.close()
