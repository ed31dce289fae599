"""Errors of the release commands.

ReleaseError          the message says what to do; the command line prints it and exits with 1
├── ConflictError     somebody else changed an object of the cluster in the meantime
└── NotEnoughData     no decision is possible yet; exit code 3
"""


class ReleaseError(Exception):
    """Base class of the errors that this package raises."""


class ConflictError(ReleaseError):
    """Somebody else created or changed an object of the cluster in the meantime."""


class NotEnoughData(ReleaseError):
    """No decision is possible yet."""
