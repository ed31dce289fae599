"""The chain of fixtures: package → settings → app → client. Models are real and tiny, made with `onnx`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.settings import Settings
from model_loader.package import BASELINE_FILE, MANIFEST_FILE, MODEL_FILE, SAMPLES_FILE, hash_file
from tests import models
from tests.asgi_client import AsgiClient

MakeClient = Callable[..., FlaskClient]


def write_package(
    path: Path, model: bytes, *, samples: list[Any] | None = None, baseline: Any = None, **manifest: Any
) -> Path:
    """A package in the directory `path`, as `publish` would have written it."""
    path.mkdir(parents=True, exist_ok=True)
    (path / MODEL_FILE).write_bytes(model)
    if samples is not None:
        (path / SAMPLES_FILE).write_text(json.dumps(samples))
    if baseline is not None:
        (path / BASELINE_FILE).write_text(json.dumps(baseline))
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
    """y = 2·x + 1 over FP32 [batch, 2] with the columns `a` and `b`, proven by one sample."""
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
    """One worker's settings, with the package."""
    return Settings(model_path=package, web_concurrency=1)


@pytest.fixture
def app(settings: Settings) -> Flask:
    """The service with the tiny package."""
    return create_app(settings)


@pytest.fixture
def make_client() -> MakeClient:
    """Return what makes a client of an application: of the ASGI application, as it is shipped."""
    return AsgiClient  # type: ignore[return-value]


@pytest.fixture
def client(app: Flask, make_client: MakeClient) -> FlaskClient:
    """A client of it."""
    return make_client(app)


@pytest.fixture
def serve(tmp_path: Path, make_client: MakeClient) -> MakeClient:
    """Makes a client of a service with the given model bytes; settings as keywords."""

    def make(model: bytes, **settings: Any) -> FlaskClient:
        path = tmp_path / "bare.onnx"
        path.write_bytes(model)
        return make_client(create_app(Settings(model_path=path, web_concurrency=1, **settings)))

    return make


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all`: what is otherwise tried in part."""
    parser.addoption("--all", action="store_true", help="all of what is otherwise tried in part")
