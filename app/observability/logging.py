"""Logging to standard output: JSON lines for machines, text for people."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from app.settings import Settings

logger = logging.getLogger("scorebox")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()


class TextFormatter(logging.Formatter):
    """A line for people: time, level unless it is info, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        line = f"{moment} {level}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def is_json(settings: Settings) -> bool:
    """Return whether log lines are JSON."""
    return settings.log_format == "json" or (settings.log_format == "auto" and not sys.stdout.isatty())


def configure(settings: Settings) -> None:
    """Send our log lines, and the warnings of gunicorn and OpenTelemetry, to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if is_json(settings) else TextFormatter())
    for name in ("scorebox", "gunicorn.error", "opentelemetry"):
        target = logging.getLogger(name)
        target.handlers = [handler]
        target.propagate = False
    logger.setLevel(settings.log_level.upper())
