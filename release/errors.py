"""Errors of the release commands.

ReleaseError          the message says what to do; the command line prints it and exits with 1
└── NotEnoughData     no decision is possible yet; exit code 3
"""


class ReleaseError(Exception):
    """Base class of the errors that this package raises."""


class NotEnoughData(ReleaseError):
    """No decision is possible yet."""
