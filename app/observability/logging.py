"""Logging: JSON lines for machines, text for people."""

import fcntl
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson

from app.settings import Settings

# Of the pipe to whoever collects the log. Requests that are logged together are more than the usual 64 KiB,
# and whoever writes to a full pipe waits, and the answers with it. More than this Linux leaves to root.
PIPE_BYTES = 2**20
logger = logging.getLogger("scorebox")


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time, level, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()


class TextFormatter(logging.Formatter):
    """A line for people: time, level where it is not info, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        line = f"{moment} {level}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def is_json(settings: Settings) -> bool:
    """Whether lines are for machines."""
    return settings.log_format == "json" or (settings.log_format == "auto" and not sys.stdout.isatty())


def configure(settings: Settings) -> None:
    """Sends our lines, and the warnings of gunicorn and OpenTelemetry, to standard output."""
    if sys.platform == "linux":
        with suppress(OSError):  # not a pipe, or there are too many large ones
            fcntl.fcntl(sys.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if is_json(settings) else TextFormatter())
    for name in ("scorebox", "gunicorn.error", "opentelemetry"):
        target = logging.getLogger(name)
        target.handlers = [handler]
        target.propagate = False
    logger.setLevel(settings.log_level.upper())
