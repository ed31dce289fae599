"""Logs: one line a request and what else happens, as JSON for machines or as text for people."""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from random import random
from select import PIPE_BUF
from time import monotonic, time
from traceback import format_exception
from typing import Any

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

LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.ERROR: "error"}

logger = logging.getLogger("scorebox")


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def timestamp(seconds: float) -> str:
    """A time since the epoch in RFC 3339, UTC; all but the milliseconds is made once a second."""
    second = int(seconds)
    return f"{_second(second)}.{int((seconds - second) * 1000):03d}+00:00"


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time, level, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        entry: dict[str, Any] = {
            "time": timestamp(record.created),
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
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if is_json(settings) else TextFormatter())
    for name in ("scorebox", "gunicorn.error", "opentelemetry"):
        target = logging.getLogger(name)
        target.handlers = [handler]
        target.propagate = False
    logger.setLevel(settings.log_level.upper())


class RequestLog:
    """Logs requests: an observer. It writes by itself, since `logging` costs as much as scoring a row."""

    def __init__(self, settings: Settings, model_version: str) -> None:
        self._success_ratio = settings.log_success_ratio
        self._has_payloads = settings.log_payloads == "on"
        self._model_version = model_version
        self._format = _json if is_json(settings) else _text

    def __call__(self, records: Sequence[Record]) -> None:
        """Logs requests; those that succeeded perhaps not, see the settings."""
        epoch = time() - monotonic()
        lines: list[bytes] = []
        size = 0
        for record in records:
            if not self._is_logged(record):
                continue
            line = self._format(self._fields(record, epoch))
            # As many at once as a pipe takes in one piece: several workers share it.
            if size + len(line) > PIPE_BUF:
                _print(b"".join(lines))
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        _print(b"".join(lines))

    def _is_logged(self, record: Record) -> bool:
        if not logger.isEnabledFor(_level(record)):
            return False
        # A share of successes, and all failures.
        return record.status >= 400 or self._success_ratio == 1 or random() < self._success_ratio  # noqa: S311

    def _fields(self, record: Record, epoch: float) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "time": timestamp(epoch + record.started + record.duration),
            "level": LEVELS[_level(record)],
            "message": "request",
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
            if record.status == 500 and record.error.__cause__:
                fields["traceback"] = "".join(format_exception(record.error.__cause__))
        if self._has_payloads and record.inputs is not None:
            fields["inputs"] = _shortened(record.inputs)
            if record.result:
                fields["outputs"] = _shortened(record.result.outputs)
        return fields


def _level(record: Record) -> int:
    if record.status >= 500:
        return logging.ERROR
    return logging.DEBUG if record.route in PROBES and record.status < 400 else logging.INFO


def _json(fields: Mapping[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _text(fields: Mapping[str, Any]) -> bytes:
    """A line for people, and what of it has lines of its own."""
    rest = dict(fields)
    moment = datetime.fromisoformat(rest.pop("time")).astimezone().strftime("%H:%M:%S")
    level = f"{rest.pop('level').upper()} ".replace("INFO ", "")
    traceback = rest.pop("traceback", "")
    line = " ".join((f"{moment} {level}{rest.pop('message')}", *(f"{k}={v}" for k, v in rest.items())))
    return f"{line}\n{traceback}".encode()


def _print(lines: bytes) -> None:
    # A full disk, or a reader that has gone, shall not cost an answer.
    with suppress(OSError):
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()


def _shortened(values: Mapping[str, Any]) -> str:
    """Named values as JSON, cut to a length."""
    document = {name: to_json(value) for name, value in values.items()}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)[:MAX_PAYLOAD].decode(errors="ignore")
