"""The settings: one table, read once from the environment.

A field's name in capitals is its variable. Each has a unit in its name, a default that is right for
production, and a line of help; `docs/settings.md` shows the same table, and a test compares them.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from app.cpu_quota import available_cpus
from app.errors import SettingsError


def _text(value: str) -> str:
    return value


def _names(value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise ValueError("expected names, separated by commas")
    return names


def _count(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not (value.isascii() and value.isdecimal() and least <= int(value) <= most):
            raise ValueError(f"expected a whole number from {least} to {most}")
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
    """All settings of the service."""

    model_path: Path = _setting(Path("model"), Path, "Model package (a directory), or a lone `.onnx` file.")
    host: str = _setting("0.0.0.0", _text, "Address to listen on.")  # noqa: S104 (a container serves its pod's address)
    port: int = _setting(8080, _count(0, 65535), "Port to listen on.")
    web_concurrency: int = _setting(0, _count(0, 1024), "Worker processes; 0: one for each CPU of the quota.")
    intra_op_num_threads: int = _setting(
        0, _count(0, 1024), "Threads ONNX Runtime runs one inference with; 0: the worker's CPUs."
    )
    inference_concurrency: int = _setting(
        0, _count(0, 1024), "Inferences a worker runs at once; 0: its CPUs divided by INTRA_OP_NUM_THREADS."
    )
    providers: tuple[str, ...] = _setting(
        ("CPUExecutionProvider",),
        _names,
        "ONNX Runtime's execution providers, in order, separated by commas.",
    )
    max_body_bytes: int = _setting(
        32 * 1024 * 1024, _count(1), "Largest request body; a larger one is refused before it is read."
    )
    batching: str = _setting(
        "on",
        _choice("on", "off"),
        "Whether requests that wait run together, where the model proves that it can.",
    )
    max_batch_rows: int = _setting(128, _count(1), "Rows that run together at the most.")
    max_queue_rows: int = _setting(
        1024, _count(0), "Rows that may wait for the model in a worker; more get 503."
    )
    request_timeout_ms: int = _setting(
        20_000, _count(1), "How long a request may take to arrive and wait for the model; then it gets 504."
    )
    graceful_timeout_s: int = _setting(
        25, _count(1), "How long requests in flight may take to finish after SIGTERM."
    )
    drain_delay_s: int = _setting(
        5, _count(0), "How long new connections are still answered after SIGTERM, while readiness fails."
    )
    keepalive_s: int = _setting(
        80, _count(1), "How long an idle connection is kept; longer than the ingress keeps it (75 s in most)."
    )
    api_keys_file: Path | None = _setting(
        None, Path, "File with a line `caller:sha256-of-key` for each caller; unset: no authentication."
    )
    caller_header: str | None = _setting(
        None,
        _header,
        "Header that whoever is in front writes the caller's name or certificate to, such as "
        "`x-forwarded-client-cert`; for log and metrics, where no API key tells.",
    )
    otel_exporter_otlp_endpoint: str | None = _setting(
        None, _text, "URL of an OpenTelemetry collector that takes OTLP over HTTP; unset: no traces are made."
    )
    log_format: str = _setting(
        "auto",
        _choice("auto", "json", "text"),
        "`json`: a JSON object a line; `text`: for people; `auto`: text on a terminal.",
    )
    log_level: str = _setting(
        "info", _choice("debug", "info", "warning", "error"), "Least severe level that is logged."
    )
    log_success_ratio: float = _setting(
        1.0, _ratio, "Share of the successful requests that is logged; failures always are."
    )
    log_payloads: str = _setting(
        "off",
        _choice("on", "off"),
        "Whether what the model took and gave is logged too, cut to 2,000 characters.",
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """The settings as the environment gives them; an empty variable counts as unset.

        Raises:
            SettingsError: a variable has a bad value; the message names it.
        """
        values = {
            item.name: _parse(item, value)
            for item in fields(cls)
            if (value := environ.get(item.name.upper()))
        }
        return cls(**values)

    def resolved(self, cpus: float | None = None) -> "Settings":
        """These settings with every 0 that means "derive it" replaced by a number.

        Args:
            cpus: CPUs of the quota; read from the cgroup where it is not given.
        """
        cpus = available_cpus() if cpus is None else cpus
        workers = self.web_concurrency or max(1, math.floor(cpus))
        worker_cpus = max(1, math.floor(cpus / workers))
        intra_op_num_threads = self.intra_op_num_threads or worker_cpus
        concurrency = self.inference_concurrency or max(1, worker_cpus // intra_op_num_threads)
        return replace(
            self,
            web_concurrency=workers,
            intra_op_num_threads=intra_op_num_threads,
            inference_concurrency=concurrency,
        )


def _parse(item: "Field[Any]", value: str) -> Any:
    try:
        return item.metadata["parse"](value)
    except ValueError as exc:
        raise SettingsError(f"{item.name.upper()} has the value {value!r}: {exc}") from exc
