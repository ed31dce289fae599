"""Logs: one line a request and what else happens, as JSON for machines or as text for people."""

import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from random import random
from select import PIPE_BUF
from time import monotonic, time
from traceback import format_exception
from typing import Any, TypeAlias

import numpy as np
import orjson

from app.errors import RequestError
from app.observability.logging import is_json, logger
from app.observability.request_record import RecordBatch, Tensors
from app.settings import Settings
from app.tensors.datatypes import Array
from app.tensors.to_json import to_json

# Asked every few seconds by machines; their successes would drown the rest.
PROBES = {"/healthz", "/readyz", "/metrics"}
# https://www.w3.org/TR/trace-context/, section 3.2
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace_id>[0-9a-f]{32})-(?!0{16})(?P<parent_id>[0-9a-f]{16})-[0-9a-f]{2}"
)
MAX_PAYLOAD = 2000
# The parts of a line: what those of a kind have in common, and every second one is to be filled in.
Line: TypeAlias = tuple[str, ...]
TIME, ID, DURATION, END, PARTS = 1, 3, 5, 6, 7
# Lines written at once: of the usual length they nearly fill PIPE_BUF, which a pipe takes in one piece.
LINES = 16
AS_UTC = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC
LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.ERROR: "error"}


class RequestLog:
    """Logs requests: an observer. It writes by itself, since `logging` costs as much as scoring a row."""

    def __init__(self, settings: Settings, model_version: str) -> None:
        self._success_ratio = settings.log_success_ratio
        self._has_payloads = settings.log_payloads == "on"
        self._model_version = model_version
        self._is_json = is_json(settings)
        self._describe = lru_cache(maxsize=1024)(self._make_line)

    def __call__(self, records: RecordBatch) -> None:
        """Logs requests; those that succeeded perhaps not, see the settings."""
        epoch = time() - monotonic()
        least = logger.getEffectiveLevel()
        places: list[int] = []
        parts: list[str] = []
        for kind, begin, end in records.groups:
            level, line = self._describe(*kind[:5])
            if level >= least:
                some = self._drawn(kind.status, range(begin, end))
                places += some
                parts += line * len(some)
        if not places:
            return
        # Number by number and line by line they would take half as long again.
        ids, started, durations = records.ids, records.times.started, records.times.duration
        if len(places) < len(ids):
            ids, started, durations = [ids[place] for place in places], started[places], durations[places]
        parts[TIME::PARTS] = _moments(started + durations + epoch)
        parts[ID::PARTS] = _quoted(ids)
        parts[DURATION::PARTS] = _milliseconds(durations)
        self._lengthen(parts, places, records)
        # A few at a time use the same memory, which stays in the processor's caches.
        for begin in range(0, len(parts), LINES * PARTS):
            lines = "".join(parts[begin : begin + LINES * PARTS]).encode()
            if not self._is_json:
                lines = b"".join([_text(orjson.loads(line)) for line in lines.splitlines()])
            _print(lines)

    def _make_line(
        self, route: str, status: int, caller: str, rows: int | None, batch_rows: int | None
    ) -> tuple[int, Line]:
        """The level of such requests, and their line."""
        level = logging.INFO
        if status >= 500:
            level = logging.ERROR
        elif status < 400 and route in PROBES:
            level = logging.DEBUG
        first = {"level": LEVELS[level], "message": "request"}
        of_request = {"route": route, "status": status}
        of_model: dict[str, Any] = {"model_version": self._model_version, "caller": caller}
        of_model |= {k: n for k, n in (("rows", rows), ("batch_rows", batch_rows)) if n is not None}
        a, b, c = (orjson.dumps(part).decode()[1:-1] for part in (first, of_request, of_model))
        return level, ('{"time":"', "", f'",{a},"id":"', "", f'",{b},"duration_ms":', "", f",{c}}}\n")

    def _drawn(self, status: int, places: Sequence[int]) -> Sequence[int]:
        """A share of successes, and all failures."""
        if self._success_ratio == 1 or status >= 400:
            return places
        return [place for place in places if random() < self._success_ratio]  # noqa: S311

    def _lengthen(self, parts: list[str], places: Sequence[int], records: RecordBatch) -> None:
        """Adds to lines what only some have."""
        errors = {
            place: kind.error
            for kind, begin, end in records.groups
            if kind.error
            for place in range(begin, end)
        }
        tensors = records.tensors if self._has_payloads else {}
        if not (errors or records.traceparents or tensors):
            return
        for end, place in zip(range(END, len(parts), PARTS), places, strict=True):
            trace = records.traceparents.get(place, "")
            if fields := _more(trace, errors.get(place), tensors.get(place)):
                parts[end] = f"{parts[end][:-2]},{orjson.dumps(fields).decode()[1:]}\n"


def _more(traceparent: str, error: RequestError | None, tensors: Tensors | None) -> dict[str, Any]:
    """What only some requests have to say."""
    fields: dict[str, Any] = {}
    if context := TRACEPARENT.fullmatch(traceparent):
        fields["trace_id"] = context["trace_id"]
    if error:
        fields["error"] = str(error)
        if error.status == 500 and error.__cause__:
            fields["traceback"] = "".join(format_exception(error.__cause__))
    if tensors:
        payloads = tensors._asdict().items()
        fields |= {name: _shortened(values) for name, values in payloads if values is not None}
    return fields


def _quoted(texts: Sequence[str]) -> Sequence[str]:
    """Printable texts as JSON has them between its quotes."""
    together = "".join(texts)
    if '"' in together or "\\" in together:
        return [orjson.dumps(text).decode()[1:-1] for text in texts]
    return texts


def _moments(seconds: Array) -> list[str]:
    """Times since the epoch in RFC 3339, UTC."""
    moments = (seconds * 1e6).astype("datetime64[us]")
    return orjson.dumps(moments, option=AS_UTC).decode()[2:-2].split('","')


def _milliseconds(seconds: Array) -> list[str]:
    """Durations with three decimals at most."""
    milliseconds = np.rint(seconds * 1e6) / 1e3
    return orjson.dumps(milliseconds, option=AS_UTC).decode()[1:-1].split(",")


def _text(fields: dict[str, Any]) -> bytes:
    """A line for people, and what of it has lines of its own."""
    moment = datetime.fromisoformat(fields.pop("time")).astimezone().strftime("%H:%M:%S")
    level = f"{fields.pop('level').upper()} ".replace("INFO ", "")
    traceback = fields.pop("traceback", "")
    line = " ".join((f"{moment} {level}{fields.pop('message')}", *(f"{k}={v}" for k, v in fields.items())))
    return f"{line}\n{traceback}".encode()


def _print(lines: bytes) -> None:
    output, begin = sys.stdout.fileno(), 0
    # A full disk, or a reader that has gone, shall not cost an answer.
    with suppress(OSError):
        while begin < len(lines):
            # As many at once as a pipe takes in one piece: several workers share it.
            end = len(lines)
            if end - begin > PIPE_BUF:
                end = lines.rfind(b"\n", begin, begin + PIPE_BUF) + 1 or lines.find(b"\n", begin) + 1
            begin += os.write(output, lines[begin:end])


def _shortened(values: Mapping[str, Any]) -> str:
    """Named values as JSON, cut to a length."""
    document = {name: to_json(value) for name, value in values.items()}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)[:MAX_PAYLOAD].decode(errors="ignore")
