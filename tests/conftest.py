"""Fixtures for all tests, as a chain: package → settings → app → client. Models are tiny but real."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.settings import Settings
from model_loader.package import BASELINE_FILE, MANIFEST_FILE, MODEL_FILE, SAMPLES_FILE, hash_file
from model_loader.package.manifest_fields import SCHEMA_FILE
from tests import models
from tests.asgi_client import AsgiClient

ROOT = Path(__file__).parents[1]
MakeClient = Callable[..., FlaskClient]


def write_package(
    path: Path,
    model: bytes,
    *,
    samples: list[Any] | None = None,
    baseline: Any = None,
    schema: Any = None,
    **manifest: Any,
) -> Path:
    """Write a package as `publish` does; return its directory."""
    path.mkdir(parents=True, exist_ok=True)
    (path / MODEL_FILE).write_bytes(model)
    if samples is not None:
        (path / SAMPLES_FILE).write_text(json.dumps(samples))
    if baseline is not None:
        (path / BASELINE_FILE).write_text(json.dumps(baseline))
    if schema is not None:
        (path / SCHEMA_FILE).write_text(json.dumps(schema))
    files = {file.name: vars(hash_file(file)) for file in path.iterdir() if file.name != MANIFEST_FILE}
    document = {
        "schema": 1,
        "name": "tiny",
        "version": 3,
        "created": "2026-01-02T03:04:05Z",
        "inputs": [],
        "outputs": [],
        "files": files,
    } | manifest
    (path / MANIFEST_FILE).write_text(json.dumps(document))
    return path


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a package of y = 2·x + 1 over FP32 [batch, 2], with columns `a` and `b` and one sample."""
    sample = {"inputs": {"x": [[1, 2], [3, 4]]}, "outputs": {"y": [[3, 5], [7, 9]]}, "rtol": 1e-6}
    return write_package(
        tmp_path / "package",
        models.affine(),
        samples=[sample],
        features=["a", "b"],
        metrics={"accuracy": 0.5},
        training={"finished": "2026-01-01T00:00:00Z"},
    )


@pytest.fixture
def settings(package: Path) -> Settings:
    """Return settings for one worker with the package."""
    return Settings(model_path=package, web_concurrency=1)


@pytest.fixture
def app(settings: Settings) -> Flask:
    """Return the service with the tiny package."""
    return create_app(settings)


@pytest.fixture
def make_client() -> MakeClient:
    """Return a factory of clients that call an application through ASGI, as in production."""
    return AsgiClient  # type: ignore[return-value]


@pytest.fixture
def client(app: Flask, make_client: MakeClient) -> FlaskClient:
    """Return a client of the service."""
    return make_client(app)


@pytest.fixture
def serve(tmp_path: Path, make_client: MakeClient) -> MakeClient:
    """Return a function that serves a model's bytes, with settings as keywords, and returns a client."""

    def make(model: bytes, **settings: Any) -> FlaskClient:
        path = tmp_path / "bare.onnx"
        path.write_bytes(model)
        return make_client(create_app(Settings(model_path=path, web_concurrency=1, **settings)))

    return make


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run the template's tests with a team's own files.

    Raises:
        pytest.UsageError: the clone is a team's, and other tests than its own are asked for.
    """
    own = [ROOT / "tests" / name for name in ("own", "training")]
    paths = [(config.invocation_params.dir / path.partition("::")[0]).resolve() for path in config.args]
    if (ROOT / "tests/template").is_dir() and not all(
        any(path.is_relative_to(each) for each in own) for path in paths
    ):
        raise pytest.UsageError(
            "this clone has a model and a name of its own, which the template's tests do not expect: run "
            "them with ./scripts/test PATH…, and your own with ./scripts/test --own"
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--all`, which makes some tests run all of their cases."""
    parser.addoption(
        "--all",
        action="store_true",
        help="run all ONNX backend test cases, byte sequences, generated requests and restarts",
    )
    parser.addoption(
        "--triton",
        metavar="PYTHON",
        help="compare statuses with those of Triton's server, which this Python has from nvidia-pytriton",
    )


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name binary data by its length: gzip writes the time into it, and test processes must agree."""
    return f"{len(val)}_bytes" if isinstance(val, bytes) and not val.isascii() else None


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say at once which test failed: a run that does not end shows no summary."""
    if report.failed and os.environ.get("CI") == "true":
        *_, reason = report.longreprtext.splitlines() or [""]
        print(f"\nFAILED {report.nodeid}: {reason}", flush=True)


# Fixtures of tests that run only with an option.
OPTIONAL = {"triton_port": "--triton", "alone": "--all"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests whose option is not given."""
    off = {name for name, option in OPTIONAL.items() if not config.getoption(option)}
    others = [item for item in items if off.intersection(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]
