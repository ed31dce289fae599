"""What keeps rows from being scored."""

from app.errors import ServiceError


class ScoringError(ServiceError):
    """The model cannot be used, a file cannot be read, or its results cannot be written."""
