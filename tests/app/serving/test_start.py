"""Verification of the model at the start, and packages that are refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from app import create_app
from app.errors import ModelError
from app.settings import Settings
from model_loader.package import MODEL_FILE
from tests import models
from tests.conftest import write_package


def sample(**outputs: Any) -> dict[str, Any]:
    """Return a sample of the affine model."""
    return {"inputs": {"x": [[1, 2]]}, "outputs": outputs}


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (
            [sample(y=[[3, 5]]), sample(y=[[3, 6]])],
            ["sample 1: output 'y': expected [[3, 6]], got [[3.0,5.0]] (rtol 0.001, atol 1e-05)"],
        ),
        ([sample(y=[[3, 5.1]]) | {"rtol": 0.0001}], ["sample 0: output 'y'", "rtol 0.0001"]),
        ([sample(y=[[3, "NaN"]])], ["sample 0: output 'y'"]),
        ([sample(y=[[3, 5], [3, 5]])], ["sample 0: output 'y'"]),
        ([sample(z=[[3, 5]])], ["sample 0: the model has no output 'z'"]),
        (
            [sample(y=[[3]]) | {"inputs": {"x": [[1]]}}],
            ["sample 0 does not fit the model: input 'x'", "[1, 1]"],
        ),
        ([sample(y=[[3]]) | {"inputs": {}}], ["sample 0 does not fit the model: missing input 'x'"]),
        ([{"input": {}}], ["sample 0: expected inputs and outputs, each an object"]),
        ([{"inputs": [[1, 2]], "outputs": {"y": [[3, 5]]}}], ["sample 0: expected inputs and outputs"]),
        ([{"inputs": {"x": [[1, 2]]}, "outputs": [[3, 5]]}], ["sample 0: expected inputs and outputs"]),
        ([sample()], ["sample 0: expected inputs and outputs"]),
        (
            [sample(y=[[3, 5]]) | {"rtol": "1e-3"}],
            ["sample 0: expected rtol to be a number from 0 to below 1, got '1e-3'"],
        ),
        ([sample(y=[[3, 5]]) | {"rtol": -0.5}], ["sample 0: expected rtol", "got -0.5"]),
        ([sample(y=[[3, 5]]) | {"atol": True}], ["sample 0: expected atol", "got True"]),
        ([sample(y=[[3, 5]]) | {"atol": float("inf")}], ["samples.json is not JSON"]),
        (
            [sample(y=[[3, 5]]) | {"tolerance": 1}],
            ["sample 0: unknown field 'tolerance'; the fields are inputs, outputs, rtol, atol, source"],
        ),
        ({"inputs": {}}, ["samples.json: expected a list of samples, got dict"]),
    ],
)
def test_sample_refused(tmp_path: Path, samples: Any, words: list[str]) -> None:
    """A failed or invalid sample stops the start with a message that names the difference."""
    path = write_package(tmp_path / "package", models.affine(), samples=samples)
    with pytest.raises(ModelError) as error:
        create_app(Settings(model_path=path, web_concurrency=1))
    for word in words:
        assert word in str(error.value)
    assert "tiny/3@sha256:" in str(error.value)


def test_valid_samples(tmp_path: Path) -> None:
    """Samples pass with outputs within the tolerance, equal strings, or NaN where NaN is expected."""
    write_package(
        tmp_path / "a",
        models.identity(TensorProto.DOUBLE),
        samples=[{"inputs": {"x": [1, None]}, "outputs": {"y": [1.0005, "NaN"]}}],
    )
    write_package(
        tmp_path / "b",
        models.sequence(TensorProto.STRING),
        samples=[{"inputs": {"x": [["a"], []]}, "outputs": {"y": [["a"], []]}}],
    )
    write_package(tmp_path / "c", models.optional(), samples=[{"inputs": {}, "outputs": {"y": False}}])
    for name in "abc":
        assert create_app(Settings(model_path=tmp_path / name, web_concurrency=1))


def damage_model(path: Path) -> None:
    """Flip a bit of the model."""
    data = bytearray((path / MODEL_FILE).read_bytes())
    data[-1] ^= 1
    (path / MODEL_FILE).write_bytes(data)


def truncate_model(path: Path) -> None:
    """Truncate the model."""
    data = (path / MODEL_FILE).read_bytes()
    (path / MODEL_FILE).write_bytes(data[: len(data) // 2])


def add_file(path: Path) -> None:
    """Add a file that is not in the manifest."""
    (path / "weights.bin").write_bytes(b"x")


def drop_samples(path: Path) -> None:
    """Remove a file that is in the manifest."""
    (path / "samples.json").unlink()


def change(**fields: Any) -> Callable[[Path], None]:
    """Return a function that changes fields of the manifest."""

    def damage(path: Path) -> None:
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps(manifest | fields))

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_model, "model.onnx is not what was published: expected sha256"),
        (truncate_model, "model.onnx is not what was published"),
        (add_file, "weights.bin is not in the manifest"),
        (drop_samples, "samples.json is missing"),
        (change(schema=2), "expected 'schema' to be 1, got 2"),
        (change(features=["a", "b", "c"]), "expected 2 features, one for each column of input 'x', got 3"),
        (change(features=["a", "a"]), "to be a list of different texts"),
        (change(features=[1, 2]), "expected 'features' to be a list of different texts"),
        (change(created="now"), "expected 'created' to be a time in RFC 3339, got 'now'"),
        (change(training={"finished": "yesterday"}), "to be a time in RFC 3339, got 'yesterday'"),
        (change(training="yesterday"), "expected 'training' to be an object"),
        (shutil.rmtree, "no model package in"),
    ],
)
def test_package_refused(package: Path, damage: Any, words: str) -> None:
    """A package that differs from its manifest, or whose manifest is invalid, stops the start."""
    damage(package)
    with pytest.raises(ModelError, match=words):
        create_app(Settings(model_path=package, web_concurrency=1))


@pytest.mark.parametrize("data", [b"", b"not a model", models.affine()[:50]])
def test_not_a_model(tmp_path: Path, data: bytes) -> None:
    """A file that ONNX Runtime cannot load is refused with a message that names it."""
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(
        ModelError, match=r"ONNX Runtime cannot load model\.onnx|/model\.onnx is not an ONNX model"
    ):
        create_app(Settings(model_path=path, web_concurrency=1))


def test_unavailable_provider(package: Path) -> None:
    """An execution provider that ONNX Runtime lacks is refused with a list of the available ones."""
    settings = Settings(model_path=package, providers=("CUDAExecutionProvider",), web_concurrency=1)
    with pytest.raises(ModelError, match=r"PROVIDERS names CUDAExecutionProvider; .*CPUExecutionProvider"):
        create_app(settings)


def test_lone_file(tmp_path: Path) -> None:
    """A lone .onnx file is served as version 0 with an empty manifest."""
    path = tmp_path / "churn.onnx"
    path.write_bytes(models.affine())
    response = create_app(Settings(model_path=path, web_concurrency=1)).test_client().get("/model").get_json()
    assert (response["name"], response["version"], response["manifest"]) == ("churn", "0", {})
    assert response["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["batch", 2]}]


def test_session_options(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session has the configured threads, and ONNX Runtime's fallback and telemetry are disabled."""
    model = create_app(Settings(model_path=package, intra_op_num_threads=3)).extensions["service"].model.model
    assert model.session.get_session_options().intra_op_num_threads == 3
    assert model.session._enable_fallback is False
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
