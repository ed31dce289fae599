"""What the service refuses, and with which status.

ScoreboxError
├── StartupError              the service does not start; one sentence says why
│   ├── SettingsError         a setting has a bad value
│   └── ModelError            the model cannot be proven to work
└── RequestError              a request is not answered: a status, a reason for the metrics, a sentence
    ├── InvalidRequest        400
    ├── Unauthorized          401
    ├── ModelNotFound         404
    ├── BodyTooLarge          413
    ├── UnsupportedMediaType  415
    ├── HeaderTooLarge        431
    ├── InferenceFailed       500
    ├── NotReady              503
    ├── QueueFull             503
    └── DeadlineExceeded      504
"""

from collections.abc import Mapping
from typing import ClassVar


class ScoreboxError(Exception):
    """Base of everything that the service raises on purpose."""


class StartupError(ScoreboxError):
    """The service does not start."""


class SettingsError(StartupError):
    """A setting has a bad value."""


class ModelError(StartupError):
    """The model cannot be proven to work."""


class RequestError(ScoreboxError):
    """A request is not answered.

    Attributes:
        status: the HTTP status.
        reason: the value of the label `reason` of `model_rejected_total`.
        headers: what the reply carries beside the usual.
    """

    status: ClassVar[int]
    reason: ClassVar[str]
    headers: ClassVar[Mapping[str, str]] = {}


class InvalidRequest(RequestError):
    """The body is malformed, or does not fit the model's signature."""

    status = 400
    reason = "invalid"


class Unauthorized(RequestError):
    """Authentication is on, and the key is missing or wrong."""

    status = 401
    reason = "unauthorized"
    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": "Bearer"}


class ModelNotFound(RequestError):
    """The path names another model or version than the one served."""

    status = 404
    reason = "not_found"


class BodyTooLarge(RequestError):
    """The body is over the limit."""

    status = 413
    reason = "too_large"


class UnsupportedMediaType(RequestError):
    """The body's type or coding is not one that the route reads."""

    status = 415
    reason = "media_type"


class HeaderTooLarge(RequestError):
    """An id of the request is longer than what is echoed."""

    status = 431
    reason = "header"


class InferenceFailed(RequestError):
    """The model itself failed."""

    status = 500
    reason = "inference"


class NotReady(RequestError):
    """The process is told to stop, and drains."""

    status = 503
    reason = "not_ready"
    headers: ClassVar[Mapping[str, str]] = {"retry-after": "1"}


class QueueFull(RequestError):
    """Too many requests wait for the model already."""

    status = 503
    reason = "queue_full"
    headers: ClassVar[Mapping[str, str]] = {"retry-after": "1"}


class DeadlineExceeded(RequestError):
    """The request waited longer than its deadline allows."""

    status = 504
    reason = "deadline"
