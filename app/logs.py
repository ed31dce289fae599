"""Logs: one line a request and what else happens, as JSON for machines or as text for people."""

import logging
import sys
from datetime import UTC, datetime
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


def log_request(record: Record) -> None:
    """Logs one request; an observer. A probe that succeeds is logged at level debug."""
    fields = {
        "id": record.id,
        "route": record.route,
        "status": record.status,
        "duration_ms": round(record.duration * 1000, 3),
        "rows": record.rows,
        "caller": record.caller,
        "error": str(record.error) if record.error else None,
    }
    level = logging.INFO if record.status < 500 else logging.ERROR
    cause = record.error.__cause__ if record.error and record.status == 500 else None
    if record.route in PROBES and record.status < 400:
        level = logging.DEBUG
    logger.log(
        level, "request", exc_info=cause, extra={"fields": {k: v for k, v in fields.items() if v is not None}}
    )
