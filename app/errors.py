"""The service's exceptions and their HTTP statuses.

ServiceError
├── StartupError              the service does not start; the message is one sentence
│   ├── SettingsError         a setting has an invalid value
│   └── ModelError            the model cannot be verified
└── RequestError              a request is rejected or fails: status, reason for the metrics, message
    ├── InvalidRequest        400
    ├── Unauthorized          401
    ├── ModelNotFound         404
    ├── FeedbackOff           404
    ├── BodyTooLarge          413
    ├── UnsupportedMediaType  415
    ├── UnsupportedCoding     415
    ├── TooManyRequests       429
    ├── HeaderTooLarge        431
    ├── MalformedHttp         400, 431, 501 or 503: the connection ends
    ├── InferenceFailed       500
    ├── InternalError         500
    ├── NotReady              503
    ├── QueueFull             503
    ├── MemoryExhausted       503
    ├── SpoolFull             503
    └── DeadlineExceeded      504

A RequestError's docstring is also the description of its response in the OpenAPI document.
"""

import math
from collections.abc import Mapping
from typing import ClassVar


class ServiceError(Exception):
    """Base class of the service's own exceptions."""


class StartupError(ServiceError):
    """The service does not start."""


class SettingsError(StartupError):
    """A setting has an invalid value."""


class ModelError(StartupError):
    """The model package is invalid, or its model cannot be loaded or fails the self-test."""


class RequestError(ServiceError):
    """A request is rejected or fails.

    Attributes:
        status: the HTTP status.
        reason: value of the `reason` label of `model_rejected_total`.
        headers: additional response headers.
    """

    status: ClassVar[int]
    reason: ClassVar[str]
    headers: Mapping[str, str] = {}

    def __init__(self, message: str = "", retry_after_s: float | None = None) -> None:
        """
        Args:
            message: the sentence for the client.
            retry_after_s: when the request might be accepted, in seconds from now; sent in whole seconds,
                https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3.
        """
        super().__init__(message)
        if retry_after_s is not None:
            self.headers = {**self.headers, "retry-after": str(max(1, math.ceil(retry_after_s)))}


class InvalidRequest(RequestError):
    """The body is malformed or does not fit the model's inputs."""

    status = 400
    reason = "invalid"

    def __init__(
        self, message: str = "", *, name: str = "", column: int | None = None, rule: str = "type"
    ) -> None:
        """
        Args:
            message: the sentence for the client.
            name: of the input or column that the error is about; empty if it is about none.
            column: index of the column in a two-dimensional input `name`; None if unknown.
            rule: what the value violates, see `app.model.data_contract`.
        """
        super().__init__(message)
        self.name, self.column, self.rule = name, column, rule


class Unauthorized(RequestError):
    """Authentication is enabled, and the API key is missing or wrong."""

    status = 401
    reason = "unauthorized"
    headers: Mapping[str, str] = {"www-authenticate": "Bearer"}


class ModelNotFound(RequestError):
    """The path names a model or version that is not served."""

    status = 404
    reason = "not_found"


class FeedbackOff(RequestError):
    """The service keeps no feedback."""

    status = 404
    reason = "feedback_off"


class BodyTooLarge(RequestError):
    """The body, decompressed or not, is larger than the limit, or has more JSON values."""

    status = 413
    reason = "too_large"


class UnsupportedMediaType(RequestError):
    """The body's media type is missing, or not supported by the route."""

    status = 415
    reason = "media_type"


class UnsupportedCoding(RequestError):
    """The body's content coding is not supported."""

    status = 415
    reason = "coding"
    headers: Mapping[str, str] = {"accept-encoding": "gzip, deflate"}


class TooManyRequests(RequestError):
    """The caller's own requests wait already, and take the time until the deadline."""

    status = 429
    reason = "over_share"
    headers: Mapping[str, str] = {"retry-after": "1"}


class HeaderTooLarge(RequestError):
    """An id in the request headers is longer than the service echoes."""

    status = 431
    reason = "header"


class MalformedHttp(RequestError):
    """The request is not HTTP/1.1, or its head is too large; the connection is closed."""

    status = 400
    reason = "http"


class InferenceFailed(RequestError):
    """The model or its pre- or post-processing failed."""

    status = 500
    reason = "inference"


class InternalError(RequestError):
    """The service has a defect."""

    status = 500
    reason = "internal"

    def __init__(self) -> None:
        super().__init__("internal error; see the log for details")


class NotReady(RequestError):
    """The process is shutting down and drains."""

    status = 503
    reason = "not_ready"
    headers: Mapping[str, str] = {"retry-after": "1"}


class QueueFull(RequestError):
    """Too many requests are waiting: this one would not be answered before its deadline."""

    status = 503
    reason = "queue_full"
    headers: Mapping[str, str] = {"retry-after": "1"}


class MemoryExhausted(RequestError):
    """The bodies of other requests fill the memory that is set aside for them."""

    status = 503
    reason = "memory"
    headers: Mapping[str, str] = {"retry-after": "1"}


class SpoolFull(RequestError):
    """There is no space for feedback on the disk."""

    status = 503
    reason = "spool_full"
    headers: Mapping[str, str] = {"retry-after": "60"}


MALFORMED_BODY = "the body ended early, or its chunks are malformed"
LATE_BODY = "the body did not arrive before the request's deadline"
MISSED_DEADLINE = "the request was not answered before its deadline"


class DeadlineExceeded(RequestError):
    """The request was not answered before its deadline."""

    status = 504
    reason = "deadline"
