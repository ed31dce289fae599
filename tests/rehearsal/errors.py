"""What a rehearsal stops at."""


class RehearsalError(Exception):
    """The pipeline's file says what is not understood, or a part of the rehearsal does not work."""


class StepFailed(Exception):
    """A step of the pipeline failed, as on an agent; the message says why."""
