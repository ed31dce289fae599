"""Logs: one line a request and what else happens, as JSON for machines or as text for people."""

import logging
import sys
from datetime import UTC, datetime
from time import time
from typing import Any

import orjson

from app.scoring import Record
from app.settings import Settings

# Asked every few seconds by machines; their successes would drown the rest.
PROBES = {"/healthz", "/readyz", "/metrics"}

logger = logging.getLogger("scorebox")


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time, level, message, then the fields given as `extra={"fields": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        } | getattr(record, "fields", {})
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()


class TextFormatter(logging.Formatter):
    """A line for people: time, level where it is not info, message, fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        fields = getattr(record, "fields", {})
        line = " ".join((f"{time} {level}{record.getMessage()}", *(f"{k}={v}" for k, v in fields.items())))
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(settings: Settings) -> None:
    """Sends our log lines, and gunicorn's warnings, to standard output in the format of the settings."""
    is_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stdout.isatty())
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if is_json else TextFormatter())
    for name in ("scorebox", "gunicorn.error"):
        target = logging.getLogger(name)
        target.handlers = [handler]
        target.propagate = False
    logger.setLevel(settings.log_level.upper())


# What a record has beside our own, made once: `Logger.log` walks the stack and asks for thread and process at
# every line, which costs more than scoring a row.
_BLANK = vars(logging.LogRecord(logger.name, logging.INFO, "", 0, "request", (), None))


def log_request(record: Record) -> None:
    """Logs one request; an observer. A probe that succeeds is logged at level debug."""
    level = logging.INFO if record.status < 500 else logging.ERROR
    if record.route in PROBES and record.status < 400:
        level = logging.DEBUG
    if not logger.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "id": record.id,
        "route": record.route,
        "status": record.status,
        "duration_ms": round(record.duration * 1000, 3),
    }
    if record.rows is not None:
        fields["rows"] = record.rows
    fields["caller"] = record.caller
    cause = None
    if record.error:
        fields["error"] = str(record.error)
        cause = record.error.__cause__ if record.status == 500 else None
    line = logging.LogRecord.__new__(logging.LogRecord)
    line.__dict__ |= _BLANK
    line.created = time()
    line.levelno, line.levelname = level, logging.getLevelName(level)
    line.exc_info = (type(cause), cause, cause.__traceback__) if cause else None
    line.__dict__["fields"] = fields
    logger.handle(line)
