"""The request log: one line a request, as JSON for machines or as text for people."""

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import random
from time import monotonic, time
from traceback import format_exception
from typing import Any

import orjson

from app.observability.log_writer import LogWriter, writer
from app.observability.logging import is_json, logger, to_line, to_utf8
from app.observability.request_record import RequestRecord
from app.observability.withheld import Withheld, traceback_without_message
from app.settings import Settings
from app.tensors.to_json import to_json

# Requested every few seconds by machines or an open page; their successes are logged at level debug.
PROBES = {"/healthz", "/readyz", "/ping", "/metrics", "/recent", "/recent/data"}
# https://www.w3.org/TR/trace-context/, section 3.2
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace_id>[0-9a-f]{32})-(?!0{16})(?P<parent_id>[0-9a-f]{16})-[0-9a-f]{2}"
)
MAX_PAYLOAD_CHARACTERS = 2000
LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.ERROR: "error"}


class RequestLog:
    """An observer that logs requests. It writes by itself: `logging` costs as much as scoring a row."""

    def __init__(
        self,
        settings: Settings,
        model_version: str,
        withheld: Withheld | None = None,
        writer: LogWriter = writer,
    ) -> None:
        """
        Args:
            withheld: removes what may not be recorded; None: everything may be.
            writer: of the lines; it writes from a thread from now on.
        """
        self._withheld = withheld or None
        self._success_ratio = settings.log_success_ratio
        self._has_payloads = settings.log_payloads == "on"
        self._model_version = model_version
        self._is_json = is_json(settings)
        self._writer = writer
        writer.start()

    def __call__(self, records: Sequence[RequestRecord]) -> None:
        """Log requests: every failure, and the configured share of the successes."""
        epoch = time() - monotonic()
        threshold = logger.getEffectiveLevel()
        lines = bytearray()
        for record in records:
            level = _level(record)
            if level < threshold or not self._is_sampled(record.status):
                continue
            fields: dict[str, Any] = {
                "time": datetime.fromtimestamp(epoch + record.started + record.duration, UTC),
                "level": LEVELS[level],
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
            if record.batch_rows is not None:
                fields["batch_rows"] = record.batch_rows
            if record.traceparent or record.error or record.nan_outputs or self._has_payloads:
                fields |= self._rare_fields(record)
            lines += to_line(fields) if self._is_json else _text(fields)
        if lines:
            self._writer.write(lines)

    def _is_sampled(self, status: int) -> bool:
        return self._success_ratio == 1 or status >= 400 or random() < self._success_ratio  # noqa: S311

    def _rare_fields(self, record: RequestRecord) -> dict[str, Any]:
        """Return the members that only some lines have."""
        fields: dict[str, Any] = {}
        if context := TRACEPARENT.fullmatch(record.traceparent):
            fields["trace_id"] = context["trace_id"]
        if record.error:
            fields["error"] = self._withheld.message(record.error) if self._withheld else str(record.error)
            if record.error.status == 500 and (cause := record.error.__cause__):
                fields["traceback"] = (
                    traceback_without_message(cause) if self._withheld else "".join(format_exception(cause))
                )
        if record.nan_outputs:
            fields["nan_outputs"] = record.nan_outputs
        if self._has_payloads:
            inputs, outputs = record.inputs, record.outputs
            if self._withheld:
                inputs, outputs = self._withheld.inputs(record), self._withheld.outputs(record)
            if inputs is not None:
                fields["inputs"] = _payload(inputs)
            if outputs is not None:
                fields["outputs"] = _payload(outputs)
        return fields


def _level(record: RequestRecord) -> int:
    if record.status >= 500:
        return logging.ERROR
    return logging.DEBUG if record.status < 400 and record.route in PROBES else logging.INFO


def _text(fields: dict[str, Any]) -> bytes:
    """Return a line for people, and below it the traceback, if any."""
    moment = fields.pop("time").astimezone().strftime("%H:%M:%S")
    level = f"{fields.pop('level').upper()} ".replace("INFO ", "")
    traceback = fields.pop("traceback", "")
    line = " ".join((f"{moment} {level}{fields.pop('message')}", *(f"{k}={v}" for k, v in fields.items())))
    return to_utf8(f"{line}\n{traceback}")


def _payload(values: Mapping[str, Any]) -> str:
    """Return named values as JSON, truncated."""
    document = {name: to_json(value) for name, value in values.items()}
    try:
        encoded = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:  # a hook's lone surrogate, see `to_line`
        encoded = to_utf8(str(document))
    return encoded[:MAX_PAYLOAD_CHARACTERS].decode(errors="ignore")
