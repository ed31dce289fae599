"""Exceptions of the rehearsal.

RehearsalError
└── ApiError  an answer of the cluster's API server other than success
"""


class RehearsalError(Exception):
    """The pipeline uses a feature that the rehearsal does not support, or a part of the rehearsal failed."""


class ApiError(RehearsalError):
    """The API server rejects a request, with the reason and message of Kubernetes' `Status`.

    Attributes:
        reason: such as `NotFound`, `AlreadyExists`, `Conflict`, `Forbidden` or `Invalid`.
        message: why, in the server's words.
    """

    def __init__(self, reason: str, message: str) -> None:
        """Create an error."""
        super().__init__(f"Error from server ({reason}): {message}")
        self.reason = reason
        self.message = message


class StepFailed(Exception):
    """A step of the pipeline failed, as it would on an agent; the message is the reason."""
