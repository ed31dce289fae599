"""The settings: read from the environment, and derived from the available CPUs."""

from dataclasses import fields
from pathlib import Path

import pytest

from app.cgroup import available_cpus, available_memory
from app.errors import SettingsError
from app.settings import Settings

MIB = 2**20


def test_defaults() -> None:
    """An empty environment and empty variables result in the defaults."""
    assert Settings.from_environ({}) == Settings.from_environ({"PORT": "", "PROVIDERS": ""}) == Settings()


def test_values() -> None:
    """Every type of value is read from its variable."""
    settings = Settings.from_environ(
        {
            "PORT": "9000",
            "MODEL_PATH": "a/b",
            "PROVIDERS": "A, B",
            "LOG_FORMAT": "json",
            "MAX_QUEUE_ROWS": "0",
        }
    )
    assert (settings.port, settings.model_path, settings.providers) == (9000, Path("a/b"), ("A", "B"))
    assert (settings.log_format, settings.max_queue_rows) == ("json", 0)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "http", "PORT has the value 'http': expected a whole number from 0 to 65535"),
        ("PORT", "65536", "PORT has the value '65536'"),
        ("PORT", "-1", "PORT has the value '-1'"),
        ("PORT", "8080.0", "PORT has the value '8080.0'"),
        ("PORT", "\u0668\u0660", "PORT has the value"),
        ("WEB_CONCURRENCY", "two", "WEB_CONCURRENCY has the value 'two'"),
        ("MAX_BODY_BYTES", "0", "MAX_BODY_BYTES has the value '0': expected a whole number from 1"),
        ("REQUEST_TIMEOUT_MS", "1e3", "REQUEST_TIMEOUT_MS has the value '1e3'"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT has the value 'xml': expected one of auto, json, text"),
        ("LOG_LEVEL", "INFO", "LOG_LEVEL has the value 'INFO'"),
        ("PROVIDERS", ",", "PROVIDERS has the value ','"),
        ("LOG_SUCCESS_RATIO", "2", "LOG_SUCCESS_RATIO has the value '2': expected a number from 0 to 1"),
        ("LOG_SUCCESS_RATIO", "-0.5", "LOG_SUCCESS_RATIO has the value '-0.5'"),
        ("LOG_SUCCESS_RATIO", "nan", "LOG_SUCCESS_RATIO has the value 'nan'"),
        ("LOG_PAYLOADS", "yes", "LOG_PAYLOADS has the value 'yes': expected one of on, off"),
        (
            "CALLER_HEADER",
            "x caller",
            "CALLER_HEADER has the value 'x caller': expected the name of a header",
        ),
    ],
)
def test_bad_value(name: str, value: str, words: str) -> None:
    """An invalid value stops the start; the message names the variable."""
    with pytest.raises(SettingsError) as error:
        Settings.from_environ({name: value})
    assert str(error.value).startswith(words)


@pytest.mark.parametrize(
    ("cpus", "given", "workers", "intra_op", "concurrency"),
    [
        (0.5, {}, 1, 1, 1),
        (1, {}, 1, 1, 1),
        (2, {}, 2, 1, 1),
        (3.7, {}, 3, 1, 1),
        (4, {"web_concurrency": 1}, 1, 4, 1),
        (4, {"web_concurrency": 1, "intra_op_num_threads": 1}, 1, 1, 4),
        (2, {"web_concurrency": 8}, 8, 1, 1),
    ],
)
def test_resolved(cpus: float, given: dict[str, int], workers: int, intra_op: int, concurrency: int) -> None:
    """Workers × inferences × threads use the whole quota, and exceed it only if a setting does so."""
    settings = Settings(**given).resolved(cpus)  # type: ignore[arg-type]
    assert settings.web_concurrency == workers
    assert settings.intra_op_num_threads == intra_op
    assert settings.inference_concurrency == concurrency


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.25),
    ],
)
def test_available_cpus(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    """The cgroup's quota limits the CPUs, in both versions; without one, the CPU affinity does."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    unlimited = available_cpus(tmp_path / "none")
    assert unlimited >= 1
    assert available_cpus(tmp_path) == (quota or unlimited)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"memory.max": "max\n"}, None),
        ({"memory.max": "536870912\n"}, 2**29),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({"memory/memory.limit_in_bytes": "268435456\n"}, 2**28),
    ],
)
def test_available_memory(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    """The cgroup's limit bounds the memory, in both versions; without one, the machine's memory does."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    unlimited = available_memory(tmp_path / "none")
    assert unlimited > 2**29
    assert available_memory(tmp_path) == (limit or unlimited)


@pytest.mark.parametrize(
    ("memory", "given", "expected"),
    [
        (512 * MIB, {}, 128 * MIB),
        (1024 * MIB, {"web_concurrency": 2}, 128 * MIB),
        (512 * MIB, {"web_concurrency": 4}, 64 * MIB),
        (512 * MIB, {"max_body_bytes": 100 * MIB}, 132 * MIB),
        (512 * MIB, {"max_in_flight_bytes": 40 * MIB}, 40 * MIB),
    ],
)
def test_in_flight_bytes(memory: int, given: dict[str, int], expected: int) -> None:
    """A quarter of the memory is for bodies, shared by the workers; the largest body always fits."""
    settings = Settings(**given).resolved(cpus=1, memory=memory)  # type: ignore[arg-type]
    assert settings.max_in_flight_bytes == expected


def test_in_flight_bytes_too_few() -> None:
    """A limit in which not even one body fits stops the start."""
    with pytest.raises(
        SettingsError, match="MAX_IN_FLIGHT_BYTES has the value 99: expected at least MAX_BODY"
    ):
        Settings(max_in_flight_bytes=99, max_body_bytes=100).resolved()


def test_help() -> None:
    """Every setting's help text is a sentence."""
    for item in fields(Settings):
        assert item.metadata["help"].endswith("."), item.name
