"""The example training workflow, from the data to a published package."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from model_loader.package import read_package, verify_package
from model_loader.registry.publish import publish
from model_loader.store import open_store
from training.data import Data, load, split
from training.train import SAMPLE_ROWS, SEED, check_samples, main, make_model, train

ROOT = Path(__file__).parents[2]
STORE = ROOT / "model_store" / "wine"


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package that the trainer writes, not published yet."""
    path = tmp_path_factory.mktemp("training") / "wine"
    train(path)
    return path


@pytest.fixture(scope="session")
def training() -> Data:
    """The rows that the model of `package` was trained on."""
    return split(load(), SEED)[0]


@pytest.fixture(scope="session")
def held_out() -> Data:
    """The rows that the model of `package` has not seen."""
    return split(load(), SEED)[1]


@pytest.fixture(scope="session")
def model(training: Data) -> Pipeline:
    """The scikit-learn model that `package` was exported from."""
    return make_model(1.0).fit(training.x, training.y)


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def score(model: Path, x: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the labels and probabilities that ONNX Runtime calculates for the rows `x`."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    label, probabilities = session.run(["label", "probabilities"], {"x": x.astype(np.float32)})
    return label, probabilities


def test_split_is_stratified(training: Data, held_out: Data) -> None:
    """Both parts have the same share of each class, and together all rows."""
    assert (len(training.x), len(held_out.x)) == (133, 45)
    np.testing.assert_allclose(np.bincount(training.y) / 133, np.bincount(held_out.y) / 45, atol=0.02)


def test_published_package_is_complete(package: Path, tmp_path: Path) -> None:
    """The published package can be verified, and its manifest describes data and training."""
    publish(package, open_store(f"file:{tmp_path}"))
    manifest = verify_package(tmp_path / "wine" / "1").manifest
    assert set(manifest.files) == {"model.onnx", "samples.json", "schema.json", "baseline.json"}
    assert manifest.features == load().features
    assert manifest.classes == load().classes
    assert set(manifest.metrics) == {"accuracy", "macro_f1", "log_loss", "cv_accuracy"}
    assert manifest.document["data"]["rows"] == 133
    assert manifest.document["training"]["hyperparameters"]["c"] == 1.0


def test_certainty(package: Path, held_out: Data) -> None:
    """The metrics are in their intervals, and the slices of a kind have all rows and the same accuracy."""
    manifest = read(package / "manifest.json")
    assert set(manifest["intervals"]) == {"accuracy", "log_loss"}
    for name, (low, high) in manifest["intervals"].items():
        assert low < manifest["metrics"][name] < high
    for kind in ("grower", "strength"):
        parts = [each for each in manifest["slices"] if each["name"].startswith(f"{kind}=")]
        assert sum(each["rows"] for each in parts) == len(held_out.x)
        right = sum(each["rows"] * each["metrics"]["accuracy"] for each in parts)
        assert right / len(held_out.x) == pytest.approx(manifest["metrics"]["accuracy"], abs=1e-5)


def test_model_io(package: Path) -> None:
    """The model has one input of columns, a label and probabilities, with the same batch symbol."""
    session = onnxruntime.InferenceSession(package / "model.onnx", providers=["CPUExecutionProvider"])
    tensors = [
        (tensor.name, tensor.type, tensor.shape) for tensor in (*session.get_inputs(), *session.get_outputs())
    ]
    assert tensors == [
        ("x", "tensor(float)", ["batch", 13]),
        ("label", "tensor(int64)", ["batch"]),
        ("probabilities", "tensor(float)", ["batch", 3]),
    ]


def test_samples_are_held_out_rows(package: Path, held_out: Data) -> None:
    """The samples, read as float32, are rows that the model was not trained on."""
    samples = read(package / "samples.json")
    rows = [np.array(sample["inputs"]["x"], np.float32) for sample in samples]
    assert tuple(len(x) for x in rows) == SAMPLE_ROWS
    assert np.array_equal(np.concatenate(rows), held_out.x[: sum(SAMPLE_ROWS)])


def test_samples_have_scikit_learns_outputs(package: Path, model: Pipeline) -> None:
    """The expected outputs are scikit-learn's, in float32 precision."""
    for sample in read(package / "samples.json"):
        x = np.array(sample["inputs"]["x"], np.float32).astype(np.float64)
        assert sample["outputs"]["label"] == model.predict(x).tolist()
        probabilities = model.predict_proba(x).astype(np.float32)
        assert np.array_equal(np.array(sample["outputs"]["probabilities"], np.float32), probabilities)


def test_onnx_runtime_reproduces_samples(package: Path) -> None:
    """The outputs of the exported model are within the tolerances of the samples."""
    for sample in read(package / "samples.json"):
        label, probabilities = score(package / "model.onnx", np.array(sample["inputs"]["x"]))
        assert label.tolist() == sample["outputs"]["label"]
        expected = sample["outputs"]["probabilities"]
        np.testing.assert_allclose(probabilities, expected, sample["rtol"], sample["atol"])


@pytest.mark.parametrize(("output", "wrong"), [("label", [2]), ("probabilities", [[0.5, 0.25, 0.25]])])
def test_wrong_export_is_not_written(package: Path, output: str, wrong: list[Any]) -> None:
    """A model whose outputs differ from scikit-learn's stops the training with the name of the output."""
    sample = read(package / "samples.json")[0]
    sample["outputs"][output] = wrong
    with pytest.raises(AssertionError, match=f"sample 0: ONNX Runtime's '{output}'"):
        check_samples((package / "model.onnx").read_bytes(), [sample])


def test_baseline(package: Path, training: Data, model: Pipeline) -> None:
    """Every share is that of the training data, counted in another way."""
    baseline = read(package / "baseline.json")
    probabilities = model.predict_proba(training.x).astype(np.float32).ravel()
    columns = dict(zip(training.features, training.x.T, strict=True))
    assert baseline["rows"] == len(training.x)
    assert list(baseline["features"]) == list(training.features)
    for name, values in columns.items():
        assert shares(values, baseline["features"][name]["edges"]) == baseline["features"][name]["shares"]
    outputs = baseline["outputs"]
    assert shares(probabilities, outputs["probabilities"]["edges"]) == outputs["probabilities"]["shares"]
    assert outputs["label"]["categories"] == [0, 1, 2]
    label = np.bincount(model.predict(training.x)) / len(training.x)
    assert outputs["label"]["shares"] == label.tolist()


def shares(values: NDArray[Any], edges: list[float]) -> list[float]:
    """Count the share of `values` in each bin, without NumPy's histogram."""
    counts = [np.count_nonzero((low <= values) & (values < high)) for low, high in pairwise(edges)]
    counts[-1] += np.count_nonzero(values == edges[-1])
    return [count / len(values) for count in counts]


def test_baseline_shares_add_up(package: Path) -> None:
    """No training row is outside of the bins or missing."""
    baseline = read(package / "baseline.json")
    for bins in (*baseline["features"].values(), *baseline["outputs"].values()):
        assert sum(bins["shares"]) == pytest.approx(1)


def test_training_again_gives_the_same_model(package: Path, tmp_path: Path) -> None:
    """The same settings on the same machine give the same file."""
    train(tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == (package / "model.onnx").read_bytes()


@pytest.mark.parametrize("version", [1, 2])
def test_training_again_agrees_with_the_committed_model(version: int, tmp_path: Path) -> None:
    """The models in the store were made with this code: they give the same outputs for all 178 rows."""
    manifest = verify_package(STORE / str(version)).manifest
    metrics = train(tmp_path, c=manifest.document["training"]["hyperparameters"]["c"])
    assert metrics == pytest.approx(dict(manifest.metrics), abs=1e-4)
    assert read(tmp_path / "manifest.json")["data"]["sha256"] == manifest.document["data"]["sha256"]

    x = load().x
    label, probabilities = score(tmp_path / "model.onnx", x)
    committed_label, committed_probabilities = score(STORE / str(version) / "model.onnx", x)
    assert np.array_equal(label, committed_label)
    np.testing.assert_allclose(probabilities, committed_probabilities, rtol=0, atol=1e-4)


def test_committed_versions_improve() -> None:
    """The second version in the store was trained from the first and is better in every metric."""
    first, second = (read_package(STORE / version).manifest for version in ("1", "2"))
    assert second.document["parent"] == first.version
    assert second.metrics["log_loss"] < first.metrics["log_loss"]
    for name in ("accuracy", "macro_f1", "cv_accuracy"):
        assert second.metrics[name] > first.metrics[name]


def test_command_line_publishes(tmp_path: Path) -> None:
    """One command trains and publishes a version."""
    result = run("--output", tmp_path / "wine", "--publish", "--store", f"file:{tmp_path / 'store'}")
    assert result.returncode == 0, result.stderr
    package = verify_package(tmp_path / "store" / "wine" / "1")
    assert str(package) in result.stdout


def test_command_line_with_an_invalid_store(tmp_path: Path) -> None:
    """An invalid store is reported in one line, without a traceback."""
    result = run("--output", tmp_path / "wine", "--publish", "--store", "nonsense:")
    assert result.returncode == 1
    assert "nonsense" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "much"])
def test_wrong_strength(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A regularization that nothing can be trained with is refused as wrong usage."""
    with pytest.raises(SystemExit, match="2"):
        main([f"--c={value}"])
    assert f"argument --c: expected a number above 0, got '{value}'" in capsys.readouterr().err


def test_output_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An output that cannot be written is one line."""
    (tmp_path / "file").touch()
    assert main(["--output", str(tmp_path / "file/wine")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"training: {tmp_path}/file/wine")
    assert error.endswith(": Not a directory\n")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training.train", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
