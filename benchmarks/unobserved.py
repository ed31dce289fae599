"""Scorebox without what observes requests, metrics, drift and log: what these cost is the difference."""

import asyncio
import os

from flask import Flask

from app import create_app
from app.asgi import Door
from app.scoring import Record
from app.settings import Settings


class Unobserved(Door):
    """A door whose requests nobody looks at."""

    def __init__(self, flask: Flask) -> None:
        super().__init__(flask)
        self._scorer.observe = _pass_over

    def observe_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """There is nobody to look."""


def _pass_over(_record: Record) -> None:
    """Costs as little as can be."""


def application() -> Unobserved:
    """The application of one worker."""
    return Unobserved(create_app(Settings.from_environ(os.environ)))
