"""Exceptions of the training.

TrainingError    the message says what to do; the command line prints it and exits with 1
└── DataError    the data cannot be trained on; the message names the column, expected and got
"""


class TrainingError(Exception):
    """Base class of the training's exceptions."""


class DataError(TrainingError):
    """The data cannot be trained on."""
