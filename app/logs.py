"""Logs: one line a request and what else happens, as JSON for machines or as text for people."""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
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

_KIND = attrgetter("route", "status", "caller")

LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.ERROR: "error"}

logger = logging.getLogger("scorebox")


@lru_cache(maxsize=2)
def _second(second: int) -> bytes:
    """A time since the epoch in RFC 3339, UTC, which needs to be made once a second."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time, level, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
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
        self._is_json = is_json(settings)
        self._describe = lru_cache(maxsize=256)(self._make_template)

    def __call__(self, records: Sequence[Record]) -> None:
        """Logs requests; those that succeeded perhaps not, see the settings."""
        epoch = time() - monotonic()
        least = logger.getEffectiveLevel()
        lines = b""
        for kind, some in groupby(records, _KIND):
            level, template = self._describe(*kind)
            if level < least:
                continue
            drawn = [record for record in some if self._success_ratio == 1 or self._is_drawn(record.status)]
            values: list[Any] = []
            for record in drawn:
                moment = epoch + record.started + record.duration
                second = int(moment)
                values += (
                    _second(second),
                    (moment - second) * 1000,
                    orjson.dumps(record.id),
                    record.duration * 1000,
                    _rows(record.rows, record.result.batch_rows if record.result else None),
                    self._rest(record) if record.error or record.traceparent or self._has_payloads else b"",
                )
            # One after another they would take a fifth longer.
            lines += template * len(drawn) % (*values,)
        if not self._is_json:
            lines = b"".join([_text(orjson.loads(line)) for line in lines.splitlines()])
        _print(lines)

    def _make_template(self, route: str, status: int, caller: str) -> tuple[int, bytes]:
        """The level of such requests, and their line with places for what differs."""
        level = logging.INFO
        if status >= 500:
            level = logging.ERROR
        elif status < 400 and route in PROBES:
            level = logging.DEBUG
        first = {"level": LEVELS[level], "message": "request"}
        of_request = {"route": route, "status": status}
        of_model = {"model_version": self._model_version, "caller": caller}
        parts = (orjson.dumps(part)[1:-1].replace(b"%", b"%%") for part in (first, of_request, of_model))
        return level, b'{"time":"%%b.%%03d+00:00",%b,"id":%%b,%b,"duration_ms":%%.3f,%b%%b%%b}\n' % (*parts,)

    def _is_drawn(self, status: int) -> bool:
        # A share of successes, and all failures.
        return status >= 400 or random() < self._success_ratio  # noqa: S311

    def _rest(self, record: Record) -> bytes:
        """What only some lines have, each member with a comma before it."""
        fields: dict[str, Any] = {}
        if context := TRACEPARENT.fullmatch(record.traceparent):
            fields["trace_id"] = context["trace_id"]
        if record.error:
            fields["error"] = str(record.error)
            if record.status == 500 and record.error.__cause__:
                fields["traceback"] = "".join(format_exception(record.error.__cause__))
        if self._has_payloads and record.inputs is not None:
            fields["inputs"] = _shortened(record.inputs)
            if record.result:
                fields["outputs"] = _shortened(record.result.outputs)
        return b"," + orjson.dumps(fields)[1:-1] if fields else b""


@lru_cache(maxsize=256)
def _rows(rows: int | None, batch_rows: int | None) -> bytes:
    named = {"rows": rows, "batch_rows": batch_rows}
    return b"".join([b',"%b":%d' % (name.encode(), n) for name, n in named.items() if n is not None])


def _text(fields: dict[str, Any]) -> bytes:
    """A line for people, and what of it has lines of its own."""
    moment = datetime.fromisoformat(fields.pop("time")).astimezone().strftime("%H:%M:%S")
    level = f"{fields.pop('level').upper()} ".replace("INFO ", "")
    traceback = fields.pop("traceback", "")
    line = " ".join((f"{moment} {level}{fields.pop('message')}", *(f"{k}={v}" for k, v in fields.items())))
    return f"{line}\n{traceback}".encode()


def _print(lines: bytes) -> None:
    begin = 0
    # A full disk, or a reader that has gone, shall not cost an answer.
    with suppress(OSError):
        while begin < len(lines):
            # As many at once as a pipe takes in one piece: several workers share it.
            end = len(lines)
            if end - begin > PIPE_BUF:
                end = lines.rfind(b"\n", begin, begin + PIPE_BUF) + 1 or lines.find(b"\n", begin) + 1
            sys.stdout.buffer.write(lines[begin:end])
            sys.stdout.buffer.flush()
            begin = end


def _shortened(values: Mapping[str, Any]) -> str:
    """Named values as JSON, cut to a length."""
    document = {name: to_json(value) for name, value in values.items()}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)[:MAX_PAYLOAD].decode(errors="ignore")
