"""Finished requests, as observers receive them."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from app.errors import RequestError

logger = logging.getLogger("service")

# Observers get requests in batches of at most this many. After a full batch the next one is near.
MAX_BATCH = 64
# The caller of a request that does not say who sent it.
ANONYMOUS = "anonymous"
# Nginx's status for a client that closed its connection before the response; it is never sent.
CLIENT_CLOSED_REQUEST = 499


@dataclass(slots=True)
class RequestRecord:
    """One request.

    Moments are in seconds of the monotonic clock and NaN if the request did not get there.

    Attributes:
        id: its `x-request-id`.
        status: that of the response; 499 until there is one.
        started: when its headers were read.
        route: the path of its route, with placeholders; a label of the metrics.
        duration: seconds from its headers to its response.
        rows: size of its batch dimension; None if its body was refused.
        inputs: name → array, the model's inputs; None if its body was refused.
        outputs: name → array, list or dict, the model's outputs; None if the model did not answer.
        prediction_id: its `x-prediction-id`.
        given: name → array, list or dict, the request's inputs before pre-processing; None like `inputs`.
        answer: name → array, list or dict, the outputs after post-processing; None if there is no answer.
        queue_duration, infer_duration: see `app.model.batcher.Result`; NaN if the model did not answer.
        batch_rows: see `Result`; None if the model did not answer.
        is_batch_leader: see `Result`.
        arrived: when its body was complete.
        decoded: when the model's inputs were ready.
        inferred: when the model's outputs were ready.
        traceparent: as sent by the client, not validated.
        body_bytes: size of its body, decompressed.
        nan_outputs: names of the outputs that have a NaN in a response in JSON.
    """

    id: str
    started: float
    route: str
    caller: str = ANONYMOUS
    status: int = CLIENT_CLOSED_REQUEST
    duration: float = 0.0
    rows: int | None = None
    inputs: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    prediction_id: str = ""
    given: Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = None
    queue_duration: float = math.nan
    infer_duration: float = math.nan
    batch_rows: int | None = None
    is_batch_leader: bool = True
    arrived: float = math.nan
    decoded: float = math.nan
    inferred: float = math.nan
    error: RequestError | None = None
    traceparent: str = ""
    body_bytes: int = 0
    nan_outputs: Sequence[str] = ()


Observer: TypeAlias = Callable[[Sequence[RequestRecord]], None]


def notify(observers: Sequence[Observer], records: Sequence[RequestRecord]) -> None:
    """Pass finished requests to every observer, and log the exception of one that fails."""
    for observe in observers:
        try:
            observe(records)
        except Exception:
            logger.exception("%d finished requests were not observed", len(records))
