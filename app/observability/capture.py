"""Capture: what was asked and answered, one line a row, for `python -m monitor`.

    {"id": "…", "row": 0, "time": "2026-01-02T03:04:05.678901Z", "request_id": "…", "caller": "anonymous",
     "name": "wine", "version": 2, "digest": "sha256:…", "ratio": 1.0, "status": 200,
     "inputs": {"alcohol": 13.64, …}, "outputs": {"label": 0, "probabilities": […]}}

A request that failed has `reason`, as in `model_rejected_total`, and null for outputs. One whose body was
refused has a single line, with null for inputs, and `feature`, the one that the refusal was about.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from time import monotonic, time
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge

from app.errors import InvalidRequest, SettingsError
from app.model.served_model import ServedModel
from app.observability.captured_row import RowEncoder, encode
from app.observability.request_record import RequestRecord
from app.observability.spool import (
    BUFFER_FULL,
    CAPTURED,
    DISK_FULL,
    NOT_ENCODED,
    NOT_SAMPLED,
    Spool,
)
from app.observability.spool_usage import SpoolUsage
from app.settings import Settings
from model_loader.package import NAME, PackageError
from model_loader.package.hashed_values import read_hash_key
from model_loader.package.schema import Schema

# Ids are 128 random bits in hexadecimal: the first 32 of them decide whether a request is sampled.
SAMPLED_DIGITS = 8
# Requests with more rows, or more bytes of body and outputs, are encoded by the spool's thread: they would
# delay others by some milliseconds.
LARGE_ROWS = 500
LARGE_BYTES = 64 * 1024
# Of a number in the list or object of an output.
BYTES_PER_VALUE = 16
# Bytes of a line without inputs and outputs.
ABOUT_BYTES = 350
LINE = b'{"id":"%b","row":%d,%b,"inputs":%b,"outputs":%b}\n'
ABOUT = b'"time":"%b.%06dZ","request_id":%b,%b'


class Capture:
    """An observer that appends the rows of scored requests to the spool.

    Attributes:
        feedback: spool of what turned out to be true.
    """

    def __init__(
        self,
        directory: Path,
        model: ServedModel,
        schema: Schema | None,
        settings: Settings,
        registry: CollectorRegistry,
        feature_of: Callable[[InvalidRequest], str],
    ) -> None:
        """
        Args:
            feature_of: returns the feature that a refusal is about, or an empty name.

        Raises:
            SettingsError: the directory cannot be written to, the model's name cannot be that of a directory
                in it, or the schema needs a key for hashes.
        """
        if not NAME.fullmatch(model.name):  # a file that is served as it is may have any
            raise SettingsError(
                f"CAPTURE_DIR is set, but the model's name is {model.name!r}: expected {NAME.pattern}"
            )
        self._feature_of = feature_of
        self._usage = SpoolUsage(directory, settings.capture_max_bytes)
        segment_s, usage = settings.capture_segment_s, self._usage
        self._spool = Spool(directory, model.name, "prediction", segment_s=segment_s, usage=usage)
        self.feedback = Spool(directory, model.name, "feedback", segment_s=segment_s, usage=usage)
        self._rows = RowEncoder(model, schema, settings.capture_max_elements, _hash_key(schema, settings))
        self._threshold = round(settings.capture_ratio * 16**SAMPLED_DIGITS)
        about = {"name": model.name, "version": model.package.manifest.version}
        about |= {"digest": model.package.digest, "ratio": settings.capture_ratio}
        self._model = encode(about)[1:-1]
        self._outcomes = {
            kind: Counter(f"{kind}_requests", help_text, ("outcome",), registry=registry)
            for kind, help_text in (
                ("capture", "Scoring requests by what became of their rows in the spool."),
                ("feedback", "Feedback requests by what became of them in the spool."),
            )
        }
        # From 0 on: a rate does not see the first increment of a series that begins with it.
        for outcome in (CAPTURED, DISK_FULL, BUFFER_FULL):
            self._outcomes["feedback"].labels(outcome)
        for outcome in (CAPTURED, NOT_SAMPLED, DISK_FULL, BUFFER_FULL, NOT_ENCODED):
            self._outcomes["capture"].labels(outcome)
        gauges = (
            ("capture_spool_bytes", "Size of the spool."),
            ("capture_oldest_timestamp_seconds", "Time of the oldest line in the spool; NaN if it is empty."),
        )
        self._gauges = [
            Gauge(name, text, registry=registry, multiprocess_mode="livemax") for name, text in gauges
        ]
        try:
            self._spool.start()
            self.feedback.start()
        except OSError as exc:
            raise SettingsError(f"CAPTURE_DIR has the value {str(directory)!r}: {exc.strerror}") from exc

    def __call__(self, records: Sequence[RequestRecord]) -> None:
        """Append the rows of a batch of requests, or count them as not sampled or dropped."""
        sampled = [each for each in records if self._is_sampled(each)]
        if len(sampled) < len(records):
            self._spool.count(NOT_SAMPLED, len(records) - len(sampled))
        small = []
        for record in sampled:
            # Of a body that was refused, no value is recorded.
            content = 0 if record.given is None else record.body_bytes + _output_bytes(record.answer)
            rows = record.rows or 0
            if rows > LARGE_ROWS or content > LARGE_BYTES:
                self._spool.append_large(partial(self._encode, [record]), content + rows * ABOUT_BYTES, 1)
            else:
                small.append(record)
        if not small:
            return
        try:
            self._spool.append(self._encode(small), len(small))
        except (TypeError, ValueError):  # a hook's output of a type of its own
            for record in small:
                try:
                    self._spool.append(self._encode([record]), 1)
                except (TypeError, ValueError):
                    self._spool.count(NOT_ENCODED, 1)

    def _is_sampled(self, record: RequestRecord) -> bool:
        return bool(int(record.prediction_id[:SAMPLED_DIGITS], 16) < self._threshold)

    def _encode(self, records: Sequence[RequestRecord]) -> bytes:
        """Return the lines of requests.

        Raises:
            TypeError, ValueError: a value cannot be encoded.
        """
        given = [record.given for record in records if record.given is not None]
        inputs = self._rows.inputs(given)
        answered = [
            (record.answer, len(rows))
            for record, rows in zip((each for each in records if each.given is not None), inputs, strict=True)
            if record.answer is not None
        ]
        outputs = self._rows.outputs([answer for answer, _ in answered], [rows for _, rows in answered])
        epoch_us = round((time() - monotonic()) * 1e6)
        next_inputs, next_outputs = iter(inputs), iter(outputs)
        lines: list[bytes] = []
        for record in records:
            time_us = epoch_us + round((record.started + record.duration) * 1e6)
            id_, about = record.prediction_id.encode(), self._about(record, time_us)
            if record.given is None:
                lines.append(LINE % (id_, 0, about, b"null", b"null"))
                continue
            rows = next(next_inputs)
            answers = [b"null"] * len(rows) if record.answer is None else next(next_outputs)
            lines += [
                LINE % (id_, row, about, *pair) for row, pair in enumerate(zip(rows, answers, strict=True))
            ]
        return b"".join(lines)

    def _about(self, record: RequestRecord, time_us: int) -> bytes:
        """Return the fields that the rows of a request have in common, in JSON without brackets.

        Args:
            time_us: when the request was finished, in microseconds since 1970.
        """
        seconds, microseconds = divmod(time_us, 1_000_000)
        of_caller = _of_caller(record.caller, self._model, record.status)
        about = ABOUT % (_second(seconds), microseconds, encode(record.id), of_caller)
        if record.error:
            about += b',"reason":' + encode(record.error.reason)
            if record.given is None and isinstance(record.error, InvalidRequest):
                name = self._feature_of(record.error)
                about += b',"feature":' + encode(name) if name else b""
        return about

    def refresh_metrics(self) -> None:
        """Count what became of the requests, and set the gauges. Called from the event loop."""
        for kind, spool in (("capture", self._spool), ("feedback", self.feedback)):
            for outcome, requests in spool.take_outcomes().items():
                self._outcomes[kind].labels(outcome).inc(requests)
        for gauge, value in zip(self._gauges, self._usage.state, strict=True):
            gauge.set(value)

    def close(self) -> None:
        """Write what is buffered, and close the segments."""
        self._spool.close()
        self.feedback.close()
        self.refresh_metrics()


def _output_bytes(answer: Mapping[str, Any] | None) -> int:
    """Return about how many bytes the outputs of an answer have."""
    return sum(map(_value_bytes, (answer or {}).values()))


def _value_bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, list | dict):
        items = value if isinstance(value, list) else value.values()
        return sum(map(_value_bytes, items))
    return BYTES_PER_VALUE


@lru_cache(maxsize=4)
def _second(seconds: int) -> bytes:
    """Return a second since 1970, UTC, as in RFC 3339 without a zone."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


@lru_cache(maxsize=256)
def _of_caller(caller: str, model: bytes, status: int) -> bytes:
    """Return the fields that many requests have in common."""
    return b'"caller":%b,%b,"status":%d' % (encode(caller), model, status)


def _hash_key(schema: Schema | None, settings: Settings) -> bytes | None:
    """Return the key of CAPTURE_HASH_KEY_FILE, or None if it is unset.

    Raises:
        SettingsError: the file cannot be read or is too short, or is needed and unset.
    """
    path = settings.capture_hash_key_file
    if path is None:
        fields = [*schema.features.values(), *schema.outputs.values()] if schema else []
        for field in fields:
            if field.pii == "hash" and field.capture:
                raise SettingsError(
                    f"CAPTURE_HASH_KEY_FILE is not set, and schema.json has `pii: hash` for '{field.name}'"
                )
        return None
    try:
        return read_hash_key(path)
    except PackageError as exc:
        raise SettingsError(f"CAPTURE_HASH_KEY_FILE: {exc}") from exc
