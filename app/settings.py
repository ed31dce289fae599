"""Settings, read once from the environment.

A field's name in capitals is the name of its environment variable. Each field has its unit in its name, a
default that is safe in production, and a line of help. `./scripts/docs` writes them into `docs/settings.md`.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from app.cgroup import available_cpus, available_memory
from app.errors import SettingsError
from app.prometheus_values import http_url, selector


def _text(value: str) -> str:
    return value


def _names(value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise ValueError("expected names separated by commas")
    return names


def _count(minimum: int, maximum: int = 2**31 - 1) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not (value.isascii() and value.isdecimal() and minimum <= int(value) <= maximum):
            raise ValueError(f"expected a whole number from {minimum} to {maximum}")
        return int(value)

    return parse


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return value

    return parse


def _header(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", value):
        raise ValueError("expected the name of a header")
    return value.lower()


def _ratio(value: str) -> float:
    if not re.fullmatch(r"[01]|[01]?\.[0-9]+", value) or float(value) > 1:
        raise ValueError("expected a number from 0 to 1")
    return float(value)


def _setting(default: Any, parse: Callable[[str], Any], help_text: str) -> Any:
    return field(default=default, metadata={"parse": parse, "help": help_text})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the service."""

    model_path: Path = _setting(Path("model"), Path, "Model package (a directory), or a single `.onnx` file.")
    host: str = _setting("0.0.0.0", _text, "Address to listen on.")  # noqa: S104 (a container serves its pod's address)
    port: int = _setting(8080, _count(0, 65535), "Port to listen on.")
    web_concurrency: int = _setting(
        0, _count(0, 1024), "Number of worker processes; 0: one for each CPU of the quota."
    )
    intra_op_num_threads: int = _setting(
        0,
        _count(0, 1024),
        "Threads that ONNX Runtime uses for one inference; 0: one for each CPU of the worker.",
    )
    inference_concurrency: int = _setting(
        0,
        _count(0, 1024),
        "Inferences that a worker runs concurrently; 0: its CPUs divided by INTRA_OP_NUM_THREADS.",
    )
    providers: tuple[str, ...] = _setting(
        ("CPUExecutionProvider",),
        _names,
        "ONNX Runtime's execution providers, in order of preference, separated by commas.",
    )
    allow_initializer_inputs: str = _setting(
        "off",
        _choice("on", "off"),
        "Whether requests may replace the weights that the graph lists as inputs; `off`: they are no inputs.",
    )
    max_body_bytes: int = _setting(
        32 * 1024 * 1024,
        _count(1),
        "Maximum size of a request body; a larger one is rejected before it is read.",
    )
    max_inflated_bytes: int = _setting(
        32 * 1024 * 1024, _count(1), "Maximum size of a request body after decompression."
    )
    max_json_values: int = _setting(
        1_000_000,
        _count(1),
        "Maximum number of commas, colons and opening brackets in a JSON body, which bounds its values; "
        "arrays of numbers that are read without a Python object for each number may have more.",
    )
    max_in_flight_bytes: int = _setting(
        0,
        _count(0, 2**48),
        "Maximum size of all request bodies in a worker, received and decompressed; requests beyond it get "
        "503. 0: a quarter of the memory of the cgroup, divided by the workers, or one body if that is more.",
    )
    require_content_type: str = _setting(
        "on",
        _choice("on", "off"),
        "Whether a scoring request without `Content-Type` is rejected: the page of another site can make a "
        "browser send one.",
    )
    batching: str = _setting(
        "on",
        _choice("on", "off"),
        "Whether waiting requests run as one batch, if the model passes the batching test at startup.",
    )
    max_batch_rows: int = _setting(
        128,
        _count(1),
        "Maximum number of rows in a batch; larger requests run in slices, if batching is possible.",
    )
    max_queue_rows: int = _setting(
        1024,
        _count(0),
        "Maximum number of rows waiting for the model in a worker; requests beyond it get 503. A caller may "
        "have no more of them than are left for others; beyond that, 429.",
    )
    request_timeout_ms: int = _setting(
        20_000, _count(1), "Deadline of a request, for its arrival and its wait for the model; after it, 504."
    )
    graceful_timeout_s: int = _setting(
        25, _count(1), "Maximum time after SIGTERM for requests in flight to finish."
    )
    drain_delay_s: int = _setting(
        5, _count(0), "Time after SIGTERM in which new connections are still accepted, while readiness fails."
    )
    worker_timeout_s: int = _setting(
        60, _count(1), "Time after which a worker whose event loop hangs is replaced."
    )
    keepalive_s: int = _setting(
        80, _count(1), "Idle timeout of a connection; keep it above the ingress's, which is usually 75 s."
    )
    write_timeout_s: int = _setting(
        30, _count(1), "Time after which a connection is ended whose client does not read its response."
    )
    max_connections: int = _setting(
        0,
        _count(0),
        "Maximum number of connections of a worker; beyond it only probes are answered; 0: as many as the "
        "limit of open files allows.",
    )
    fast_http: str = _setting(
        "on",
        _choice("on", "off"),
        "Whether scoring requests are answered in the callbacks of the HTTP parser; `off`: by the plain ASGI "
        "application, with the same answers at a lower rate.",
    )
    api_keys_file: Path | None = _setting(
        None, Path, "File with a line `caller:sha256-of-key` for each key; unset: no authentication."
    )
    caller_header: str | None = _setting(
        None,
        _header,
        "Header in which a proxy passes the caller's name or certificate, such as "
        "`x-forwarded-client-cert`; used in log and metrics if there is no API key.",
    )
    # part: tracing
    otel_exporter_otlp_endpoint: str | None = _setting(
        None, _text, "URL of an OpenTelemetry collector that accepts OTLP over HTTP; unset: no tracing."
    )
    # end: tracing
    stage: str | None = _setting(
        None, _text, "Where this service runs, such as `production`; shown on the page."
    )
    release: str | None = _setting(
        None, _text, "Release that this service belongs to, such as a commit; shown on the page."
    )
    prometheus_url: str | None = _setting(
        None,
        http_url,
        "URL of a Prometheus that scrapes all replicas; the page's charts and quality are from it. Unset: "
        "the charts have the last hour of the replica that answers.",
    )
    prometheus_selector: str = _setting(
        "",
        selector,
        "Labels of this service's series in that Prometheus, separated by commas, such as "
        '`namespace="demo"`.',
    )
    log_format: str = _setting(
        "auto",
        _choice("auto", "json", "text"),
        "`json`: one JSON object per line; `text`: readable text; `auto`: text on a terminal, else JSON.",
    )
    log_level: str = _setting(
        "info",
        _choice("debug", "info", "warning", "error"),
        "Minimum level of log lines: `debug`, `info`, `warning` or `error`.",
    )
    log_success_ratio: float = _setting(
        1.0, _ratio, "Share of successful requests that is logged, from 0 to 1; failures are always logged."
    )
    log_payloads: str = _setting(
        "off",
        _choice("on", "off"),
        "Whether the model's inputs and outputs are logged, truncated to 2,000 characters.",
    )
    schema: str = _setting(
        "count",
        _choice("count", "enforce"),
        "Whether values that violate the package's `schema.json` are only counted, or refused with 400.",
    )
    capture_dir: Path | None = _setting(
        None,
        Path,
        "Directory that gets scored rows and feedback, for `python -m monitor`; unset: no capture.",
    )
    capture_ratio: float = _setting(
        1.0, _ratio, "Share of the requests that is captured, from 0 to 1, chosen by a hash of their ids."
    )
    capture_segment_s: int = _setting(
        60, _count(1, 86400), "Age at which a file of captured rows is closed and can be shipped."
    )
    capture_max_bytes: int = _setting(
        2**29,
        _count(2**20, 2**48),
        "Maximum size of all files in CAPTURE_DIR; beyond it rows are dropped and counted.",
    )
    capture_max_elements: int = _setting(
        256,
        _count(1),
        "Maximum number of elements of a row's tensor that is captured as a whole; of a larger one its shape "
        "and digest are captured.",
    )
    capture_hash_key_file: Path | None = _setting(
        None, Path, "File with the secret key of the hashes that replace values with `pii: hash`."
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables; an empty variable counts as unset.

        Raises:
            SettingsError: a variable has an invalid value; the message names the variable.
        """
        values = {
            item.name: _parse(item, value)
            for item in fields(cls)
            if (value := environ.get(item.name.upper()))
        }
        return cls(**values)

    def resolved(self, cpus: float | None = None, memory: int | None = None) -> "Settings":
        """Replace the value 0 of a setting by one that is derived from the CPUs or the memory of the cgroup.

        Args:
            cpus: CPUs of the quota; None: read from the cgroup.
            memory: bytes that the limit allows; None: read from the cgroup.

        Raises:
            SettingsError: no body of the maximum size would fit into the memory for all bodies.
        """
        cpus = available_cpus() if cpus is None else cpus
        memory = available_memory() if memory is None else memory
        workers = self.web_concurrency or max(1, math.floor(cpus))
        worker_cpus = max(1, math.floor(cpus / workers))
        intra_op_num_threads = self.intra_op_num_threads or worker_cpus
        concurrency = self.inference_concurrency or max(1, worker_cpus // intra_op_num_threads)
        largest_bytes = self.max_body_bytes + self.max_inflated_bytes
        in_flight_bytes = self.max_in_flight_bytes or max(memory // 4 // workers, largest_bytes)
        if in_flight_bytes < self.max_body_bytes:
            raise SettingsError(
                f"MAX_IN_FLIGHT_BYTES has the value {in_flight_bytes}: expected at least MAX_BODY_BYTES, "
                f"{self.max_body_bytes}"
            )
        return replace(
            self,
            web_concurrency=workers,
            max_in_flight_bytes=in_flight_bytes,
            intra_op_num_threads=intra_op_num_threads,
            inference_concurrency=concurrency,
        )


def _parse(item: "Field[Any]", value: str) -> Any:
    try:
        return item.metadata["parse"](value)
    except ValueError as exc:
        raise SettingsError(f"{item.name.upper()} has the value {value!r}: {exc}") from exc
