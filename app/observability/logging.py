"""Logging to standard output: JSON lines for machines, text for people."""

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from app.observability.log_writer import writer
from app.settings import Settings

logger = logging.getLogger("service")


def to_line(fields: Mapping[str, Any]) -> bytes:
    """Return the members of a line as JSON."""
    try:
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # A lone surrogate, which UTF-8 cannot express.
        texts = {name: to_utf8(value).decode() for name, value in fields.items() if isinstance(value, str)}
        return orjson.dumps({**fields, **texts}, option=orjson.OPT_APPEND_NEWLINE)


def to_utf8(text: str) -> bytes:
    """Return a text in UTF-8, in which lone surrogates are escaped."""
    return text.encode(errors="backslashreplace")


class _Output:
    """Standard output for a `logging.StreamHandler`."""

    def write(self, text: str) -> None:
        """Write whole lines."""
        writer.write(to_utf8(text))


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
        return to_line(entry).decode().rstrip()


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
    """Send all log lines to standard output: ours, and the warnings of gunicorn and of all libraries."""
    handler = logging.StreamHandler(_Output())
    handler.setFormatter(JsonFormatter() if is_json(settings) else TextFormatter())
    # gunicorn gives its logger a handler of its own, and its lines do not reach the root logger.
    for name in (None, "gunicorn.error"):
        logging.getLogger(name).handlers = [handler]
    logging.captureWarnings(True)
    logger.setLevel(settings.log_level.upper())
