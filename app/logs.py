"""Logs: one line a request and what else happens, as JSON for machines or as text for people."""

import logging
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from random import random
from threading import get_ident
from time import time
from typing import Any, TextIO

import orjson

from app.scoring import Record
from app.settings import Settings
from app.tensors import to_json

# Asked every few seconds by machines; their successes would drown the rest.
PROBES = {"/healthz", "/readyz", "/metrics"}

# https://www.w3.org/TR/trace-context/, section 3.2
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace_id>[0-9a-f]{32})-(?!0{16})(?P<parent_id>[0-9a-f]{16})-[0-9a-f]{2}"
)

MAX_PAYLOAD = 2000

logger = logging.getLogger("scorebox")


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time, level, message, then the fields given as `extra={"fields": …}`."""

    _second, _prefix = 0, ""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        entry: dict[str, Any] = {
            "time": self._time(record.created),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()

    def _time(self, created: float) -> str:
        """RFC 3339; all but the milliseconds is made once a second."""
        second = int(created)
        if second != self._second:
            self._second = second
            self._prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._prefix}.{int((created - second) * 1000):03d}+00:00"


class TextFormatter(logging.Formatter):
    """A line for people: time, level where it is not info, message, fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        fields = getattr(record, "fields", {})
        line = " ".join((f"{time} {level}{record.getMessage()}", *(f"{k}={v}" for k, v in fields.items())))
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines; those of one turn of the event loop together, where there is one.

    Attributes:
        call_soon: the event loop's, in whose thread the requests are logged.
    """

    call_soon: Callable[[Callable[[], None]], Any] | None = None

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._thread = get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the line of one record, at the latest when the event loop turns."""
        if self.call_soon is None or get_ident() != self._thread:
            super().emit(record)
            return
        if not self._lines:
            self.call_soon(self.flush)
        self._lines.append(self.format(record) + self.terminator)

    def flush(self) -> None:
        """Writes what waits; also called when the process ends."""
        with self.lock or nullcontext():
            text, self._lines = "".join(self._lines), []
            if text:
                self.stream.write(text)
            super().flush()


def configure(settings: Settings) -> None:
    """Sends our lines, and the warnings of gunicorn and OpenTelemetry, to standard output."""
    is_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stdout.isatty())
    handler = LineHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if is_json else TextFormatter())
    for name in ("scorebox", "gunicorn.error", "opentelemetry"):
        target = logging.getLogger(name)
        target.handlers = [handler]
        target.propagate = False
    logger.setLevel(settings.log_level.upper())


class RequestLine(logging.LogRecord):
    """The record of one request.

    What all of them share is made once: `Logger.log` walks the stack and asks for thread and process at every
    line, which costs more than scoring a row.
    """

    _shared = vars(logging.LogRecord(logger.name, logging.INFO, "", 0, "request", (), None))

    def __init__(self, level: int, fields: Mapping[str, Any], error: BaseException | None) -> None:
        self.__dict__.update(self._shared)
        self.created = time()
        self.levelno = level
        self.levelname = logging.getLevelName(level)
        self.fields = fields
        cause = error.__cause__ if error else None
        self.exc_info = (type(cause), cause, cause.__traceback__) if cause else None


class RequestLog:
    """Logs requests: an observer."""

    def __init__(self, settings: Settings, model_version: str) -> None:
        self._success_ratio = settings.log_success_ratio
        self._has_payloads = settings.log_payloads == "on"
        self._model_version = model_version

    def __call__(self, record: Record) -> None:
        """Logs one request; a probe that succeeds at level debug, of other successes only a sample."""
        status = record.status
        level = logging.INFO if status < 500 else logging.ERROR
        if record.route in PROBES and status < 400:
            level = logging.DEBUG
        if not logger.isEnabledFor(level):
            return
        if status < 400 and self._success_ratio < 1 and random() >= self._success_ratio:  # noqa: S311 (a sample)
            return
        logger.handle(RequestLine(level, self._fields(record), record.error if status == 500 else None))

    def _fields(self, record: Record) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "id": record.id,
            "route": record.route,
            "status": record.status,
            "duration_ms": round(record.duration * 1000, 3),
            "model_version": self._model_version,
            "caller": record.caller,
        }
        if record.rows is not None:
            fields["rows"] = record.rows
        if record.result:
            fields["batch_rows"] = record.result.batch_rows
        if record.traceparent and (context := TRACEPARENT.fullmatch(record.traceparent)):
            fields["trace_id"] = context["trace_id"]
        if record.error:
            fields["error"] = str(record.error)
        if self._has_payloads and record.inputs is not None:
            fields["inputs"] = _shortened(record.inputs)
            if record.result:
                fields["outputs"] = _shortened(record.result.outputs)
        return fields


def _shortened(values: Mapping[str, Any]) -> str:
    """Named values as JSON, cut to a length."""
    document = {name: to_json(value) for name, value in values.items()}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)[:MAX_PAYLOAD].decode(errors="ignore")
