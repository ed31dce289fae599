"""What this package refuses, and why.

ReleaseError          one sentence that says what to do; the command line prints it and exits 1
└── NotEnoughData     nothing can be said yet; exit code 3
"""


class ReleaseError(Exception):
    """Base of everything that this package raises on purpose."""


class NotEnoughData(ReleaseError):
    """Nothing can be said yet."""
