"""Exceptions of the rehearsal."""


class RehearsalError(Exception):
    """The pipeline uses a feature that the rehearsal does not support, or a part of the rehearsal failed."""


class StepFailed(Exception):
    """A step of the pipeline failed, as it would on an agent; the message is the reason."""
