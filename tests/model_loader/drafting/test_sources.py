"""What is given as a model: MLflow models, packages, and everything that is not one."""

import io
import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from model_loader.drafting.sources import read_source
from model_loader.errors import DraftError, LoaderError
from tests import models
from tests.model_loader.command_line import Loader
from tests.model_loader.drafts import write_draft, write_external


def zipped(*names: str) -> bytes:
    """Return a zip file with empty members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return file.getvalue()


def archived(**arrays: Any) -> bytes:
    """Return an .npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


SAFETENSORS = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
WRONG = [
    ("model.pkl", pickle.dumps({"a": 1}), r"a pickle of Python; load it in Python and draft it there"),
    ("model.onnx", pickle.dumps([1] * 9), r"a pickle of Python"),
    ("model.joblib", b"x\x9c\x01", r"a pickle of joblib; load it"),
    (
        "model.pt",
        zipped("archive/data.pkl"),
        r"weights or a module of torch; .* export it with torch.onnx.export",
    ),
    ("model.onnx", zipped("archive/data.pkl"), r"weights or a module of torch"),
    ("model.pth", b"\x80\x02", r"weights or a module of torch|a pickle"),
    ("model.safetensors", len(SAFETENSORS).to_bytes(8, "little") + SAFETENSORS, r"weights without a graph"),
    ("model.onnx", len(SAFETENSORS).to_bytes(8, "little") + SAFETENSORS, r"weights without a graph"),
    ("model.h5", b"\x89HDF\r\n\x1a\n\0\0", r"a model of Keras; .*model.export\("),
    ("model.keras", zipped("config.json", "model.weights.h5"), r"a model of Keras"),
    ("model.pb", b"\x0a\x01\x02", r"a model of TensorFlow; convert it: python -m tf2onnx"),
    (
        "model.onnx",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        r"Git LFS; .* git lfs pull",
    ),
    ("model.onnx", b"alcohol,ash\n1,2\n", r"CSV, which is data: give it as --data"),
    ("model.onnx", b'{"learner": {}}', r"JSON; if it is a model of XGBoost"),
    ("model.onnx", b"tree\nversion=v4\n", r"a model of LightGBM"),
    ("model.onnx", b"CBM1\0\0", r"a model of CatBoost"),
    ("model.onnx", b"PAR1\0", r"a Parquet file, which is data"),
    (
        "model.onnx",
        zipped("model.onnx", "weights.bin"),
        r"a zip file with model.onnx, weights.bin; unpack it",
    ),
    ("model.onnx", b"PK\x03\x04cut", r"a zip file that is cut off"),
    ("model.onnx", archived(x=np.zeros(2)), r"an .npz file of arrays, which is data"),
    ("model.onnx", b"\x1f\x8b\x08\0", r"compressed by gzip; unpack it"),
    ("model.onnx", b"<!DOCTYPE html><title>Sign in</title>", r"a page in HTML, .* asks for a login"),
    ("model.onnx", b"no model at all", r"a text that begins with 'no model at all'"),
    ("model.onnx", b"", r"model.onnx is empty: export or download the model again"),
]


@pytest.mark.parametrize(("name", "content", "message"), WRONG)
def test_wrong_file(name: str, content: bytes, message: str) -> None:
    """A file that is not an ONNX model is refused with what it is and what to do."""
    Path(name).write_bytes(content)
    with pytest.raises(DraftError, match=message):
        read_source(Path(name))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("saved_model.pb", r"a model of TensorFlow"),
        ("config.json", r"a model of Hugging Face; export it: optimum-cli export onnx"),
        ("notes.txt", r"a directory: expected an ONNX file, an MLflow model"),
    ],
)
def test_wrong_directory(file: str, message: str) -> None:
    """A directory of another kind is refused with what it is."""
    Path("made").mkdir()
    (Path("made") / file).write_text("{}")
    with pytest.raises(DraftError, match=message):
        read_source(Path("made"))


@pytest.mark.parametrize("is_external", [False, True])
def test_truncated_model(is_external: bool, loader: Loader) -> None:
    """A model that is cut off is refused as such, wherever its weights are."""
    content = models.layers()
    if is_external:
        content = (write_external(Path("made")) / "model.onnx").read_bytes()
    Path("made.onnx").write_bytes(content[: len(content) // 2])
    Path("test.csv").write_text("x\n1\n")
    done = loader("draft", "made.onnx", "--data", "test.csv", "--name", "tiny", "--out", "draft")
    assert done.code == 1
    assert re.search("cut off.* (export|Export) or download", done.err)


def test_missing_files() -> None:
    """A model that does not exist, and one without its weights, are refused by name."""
    with pytest.raises(DraftError, match=r"made.onnx: no such file"):
        read_source(Path("made.onnx"))
    (write_external(Path("made")) / "weights.bin").unlink()
    with pytest.raises(DraftError, match=r"has its weights in weights.bin, which is not beside it"):
        read_source(Path("made/model.onnx"))


def test_weights_elsewhere() -> None:
    """A model whose weights are outside of its directory is refused: the draft would write there."""
    Path("secret.bin").write_bytes(bytes(16384))
    write_external(Path("made"), "../secret.bin")
    with pytest.raises(LoaderError, match=r"path '../secret.bin' is outside of the package directory"):
        read_source(Path("made/model.onnx"))


def test_package(loader: Loader) -> None:
    """A package is a source too, with the features in its manifest."""
    write_draft(Path("made"), features=["second", "first"])
    pd.DataFrame({"first": [1.0, 2.0], "second": [3.0, 4.0]}).to_csv("test.csv", index=False)
    done = loader("draft", "made", "--data", "test.csv", "--name", "tiny", "--out", "draft")
    assert (done.code, done.err) == (0, "")
    (sample,) = [
        item for item in json.loads(Path("draft/samples.json").read_text()) if item["inputs"]["x"] == [[3, 1]]
    ]
    assert sample["outputs"]["y"] == [[7, 3]]


MLMODEL = """\
artifact_path: model
flavors:
  onnx: {code: null, data: model.onnx, onnx_version: 1.19.0, providers: [CPUExecutionProvider]}
  python_function: {data: model.onnx, loader_module: mlflow.onnx}
mlflow_version: 3.4.0
run_id: 0a1b
saved_input_example_info: {artifact_path: input_example.json, pandas_orient: split, type: dataframe}
signature:
  inputs: '[{"type": "double", "name": "b", "required": true}, {"type": "double", "name": "a"}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]'
utc_time_created: '2026-01-02 03:04:05.678901'
"""


def write_mlflow(text: str = MLMODEL, example: Any = None) -> Path:
    """Write a run of MLflow with a model of y = 2·x + 1, and return the model's directory."""
    directory = Path("run/artifacts/model")
    directory.mkdir(parents=True)
    (directory / "MLmodel").write_text(text)
    (directory / "model.onnx").write_bytes(models.affine())
    example = {"columns": ["a", "b"], "data": [[1, 2.5], [3, None]]} if example is None else example
    (directory / "input_example.json").write_text(json.dumps(example))
    (Path("run") / "metrics").mkdir()
    (Path("run") / "metrics/val_rmse").write_text("1700000000000 0.5 0\n1700000001000 0.25 1\n")
    return directory


def test_mlflow(loader: Loader) -> None:
    """Features are in the signature's order, rows are the input example, metrics are the run's last ones."""
    done = loader("draft", write_mlflow(), "--name", "tiny", "--out", "draft", "--json")
    assert (done.code, done.err) == (0, "")
    manifest = json.loads(done.out)["manifest"]
    assert manifest["features"] == ["b", "a"]
    assert manifest["metrics"] == {"val_rmse": 0.25}
    assert manifest["training"] == {"mlflow": {"run_id": "0a1b", "mlflow_version": "3.4.0"}}
    samples = json.loads(Path("draft/samples.json").read_text())
    assert sorted(str(sample["inputs"]["x"]) for sample in samples) == ["[['NaN', 3.0]]", "[[2.5, 1.0]]"]


@pytest.mark.parametrize("example", [{"inputs": [[1, 2], [3, 4]]}, {"inputs": {"x": [[1, 2], [3, 4]]}}])
def test_mlflow_tensors(loader: Loader, example: Any) -> None:
    """A model with a signature of tensors has no features, and an example of arrays."""
    text = MLMODEL.replace('"type": "double", "name": "b"', '"type": "tensor"').replace(
        '"type": "double", "name": "a"', '"type": "tensor"'
    )
    done = loader("draft", write_mlflow(text, example), "--name", "tiny", "--out", "draft", "--json")
    assert (done.code, done.err) == (0, "")
    assert "features" not in json.loads(done.out)["manifest"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "flavors: {sklearn: {}, python_function: {}}",
            r"has the flavors sklearn, python_function: expected onnx",
        ),
        (
            "flavors: {onnx: {data: other.onnx}}",
            r"expected the name of a file in the onnx flavor, got 'other.onnx'",
        ),
        ("flavors: [", r"MLmodel cannot be read"),
        ("- 1", r"MLmodel: expected an object, got list"),
        (MLMODEL.replace("input_example.json", "none.json"), r"none.json: the input example cannot be read"),
        (MLMODEL.partition("saved_input")[0], r"has no rows to run it on: give them with --data"),
    ],
)
def test_wrong_mlflow_model(loader: Loader, text: str, message: str) -> None:
    """An MLflow model without an ONNX flavor, or with a broken description, is refused."""
    done = loader("draft", write_mlflow(text), "--name", "tiny", "--out", "draft")
    assert done.code == 1
    assert re.search(message, done.err)
    assert not Path("draft").exists()
