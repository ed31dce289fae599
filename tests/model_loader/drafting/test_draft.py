"""`draft`: from a model and its data to a package that publishes, pulls and passes its self-test."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from onnx import TensorProto, helper
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, r2_score

from app.model.self_test import load_and_verify
from app.model.transform import Transform
from app.settings import Settings
from model_loader.errors import DraftError
from model_loader.package import read_package
from model_loader.registry import draft
from tests import models
from tests.model_loader.command_line import Loader
from tests.model_loader.drafting.kinds import (
    CLASS,
    FLOATS,
    FRAME,
    KINDS,
    MIXED,
    NUMBER,
    PAYS,
    RNG,
    ROWS,
    WORD,
    X,
    exported,
    write_table,
)


def served(package: Path) -> int:
    """Load a package as the service does, verify it with its samples, and return how many there are."""
    verified = load_and_verify(Settings(model_path=package, web_concurrency=1).resolved(), Transform)
    return len(verified.samples)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [*((kind, "csv") for kind in KINDS), ("mixed columns", "parquet"), ("strings in", "jsonl")],
)
def test_kinds(kind: str, suffix: str, loader: Loader) -> None:
    """Every kind of model is drafted from every format, and the draft is published and served as it is."""
    model, frame, outputs, truth = KINDS[kind]()
    Path("made.onnx").write_bytes(model)
    write_table(frame.assign(**{"the truth": truth}), f"test.{suffix}")
    write_table(pd.DataFrame(outputs), f"predictions.{suffix}")
    arguments = ["--target", "the truth", "--name", "tiny", "--predictions", f"predictions.{suffix}"]
    done = loader("draft", "made.onnx", "--data", f"test.{suffix}", *arguments, "--out", "draft")
    assert (done.code, done.err) == (0, "")
    assert "largest difference" in done.out or "equal" in done.out
    assert "python -m model_loader publish draft" in done.out
    assert loader("publish", "draft", "--store", "file:store").code == 0
    assert loader("pull", "--store", "file:store").code == 0
    assert served(Path("model")) == 12
    metrics = read_package(Path("model")).manifest.metrics
    if kind == "regressor":
        predicted = outputs["anything"]
        assert metrics["mae"] == pytest.approx(mean_absolute_error(truth, predicted), rel=1e-5)
        assert metrics["r2"] == pytest.approx(r2_score(truth, predicted), rel=1e-5)
    else:
        label = next(iter(outputs.values()))
        assert metrics["accuracy"] == pytest.approx(accuracy_score(truth, label), rel=1e-9)
        assert metrics["macro_f1"] == pytest.approx(f1_score(truth, label, average="macro"), rel=1e-9)
        assert {"log_loss", "calibration_error"} < metrics.keys()
    if kind == "strings as labels":
        columns = np.stack(list(outputs.values())[1:], axis=1)
        assert metrics["log_loss"] == pytest.approx(log_loss(truth, columns), rel=1e-5)


def test_edited_schema(loader: Loader) -> None:
    """A second draft keeps what people wrote into `schema.json`, and says so; new features are the data's."""
    model, frame, _, truth = KINDS["mixed columns"]()
    Path("made.onnx").write_bytes(model)
    write_table(frame.assign(truth=truth), "test.csv")
    command = (
        "draft",
        "made.onnx",
        "--data",
        "test.csv",
        "--target",
        "truth",
        "--name",
        "tiny",
        "--out",
        "draft",
    )
    assert "former draft" not in loader(*command).out
    path = Path("draft/schema.json")
    drafted = json.loads(path.read_text())
    assert "former draft" not in loader(*command).out
    assert json.loads(path.read_text()) == drafted
    edited = json.loads(path.read_text())
    edited["features"]["balance"] |= {"unit": "EUR", "min": -1e6, "pii": True}
    edited["features"]["gone"] = {"type": "number"}
    edited["features"]["job_title"] = {"type": "number"}
    path.write_text(json.dumps(edited))
    done = loader(*command)
    assert "schema.json keeps feature 'balance' of the former draft; delete it to take the data's" in done.out
    expected = drafted["features"] | {"balance": edited["features"]["balance"]}
    assert json.loads(path.read_text()) == drafted | {"features": expected}
    assert "not in the baseline, because schema.json withholds them: balance" in done.out
    baseline = json.loads(Path("draft/baseline.json").read_text())
    assert "balance" not in baseline["features"]
    assert baseline["features"]
    path.write_text("{")
    assert (loader(*command).code, path.read_text()) == (1, "{")


def test_several_inputs(loader: Loader) -> None:
    """Arrays of any shape come from an .npz file, by the names of the inputs and outputs."""
    nodes = [
        helper.make_node("ReduceSum", ["image", "axes"], ["s"], keepdims=0),
        helper.make_node("Add", ["s", "bias"], ["total"]),
        helper.make_node("Identity", ["word"], ["echo"]),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    inputs = [
        models.tensor("image", shape=("batch", 2, 3)),
        models.tensor("bias", shape=("batch",)),
        models.tensor("word", TensorProto.STRING, ("batch",)),
    ]
    outputs = [
        models.tensor("total", shape=("batch",)),
        models.tensor("echo", TensorProto.STRING, ("batch",)),
    ]
    Path("made.onnx").write_bytes(models.model(nodes, inputs, outputs, [axes]))
    arrays: dict[str, Any] = {"Image": X.reshape(-1, 1, 3).repeat(2, axis=1), "bias": NUMBER, "word": WORD}
    total = arrays["Image"].sum((1, 2)) + NUMBER
    np.savez("test.npz", total_truth=total + 1, **arrays)
    np.savez("predictions.npz", total=total)
    done = loader(
        *[
            "draft",
            "made.onnx",
            "--data",
            "test.npz",
            "--target",
            "total_truth",
            "--predictions",
            "predictions.npz",
        ],
        *["--name", "tiny", "--out", "draft"],
    )
    assert (done.code, done.err) == (0, "")
    assert "column 'Image' is 'image' in the model" in done.out
    samples = json.loads(Path("draft/samples.json").read_text())
    assert [list(sample["outputs"]) for sample in samples] == [["total"]] * 12
    assert np.shape(samples[-1]["inputs"]["image"]) == (3, 2, 3)
    assert loader("publish", "draft", "--store", "file:store").code == 0
    assert loader("pull", "--store", "file:store").code == 0
    assert served(Path("model")) == 12


def test_files(loader: Loader) -> None:
    """What is written: ranges, categories and shares of the data, its fingerprint, and the truth."""
    frame = MIXED.assign(balance=np.where(np.arange(ROWS) % 3, MIXED["balance"], np.nan), pays=PAYS)
    frame.to_csv("test.csv", index=False)
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ("balance", "job_title")]
    kinds = {"balance": TensorProto.FLOAT, "job_title": TensorProto.STRING}
    inputs = [models.tensor(name, kind, ("batch", 1)) for name, kind in kinds.items()]
    outputs = [models.tensor(f"{name}_out", kind, ("batch", 1)) for name, kind in kinds.items()]
    Path("made.onnx").write_bytes(models.model(nodes, inputs, outputs))
    done = loader("draft", "made.onnx", "--data", "test.csv", "--name", "tiny", "--out", "draft", "--json")
    report = json.loads(done.out)
    assert report["notes"] == [
        "column 'job title' is 'job_title' in the model",
        "ignored columns: age, pays",
        "a small baseline: with 90 rows, drift finds shifts from 1.00 standard deviations on, not "
        "smaller ones, in an hour at one request per second; docs/models.md has a table",
    ]
    assert report["source"] == "onnxruntime"
    assert "prove nothing of the export" in report["warnings"][0]
    assert report["manifest"]["data"]["rows"] == ROWS
    assert len(report["manifest"]["data"]["sha256"]) == 64
    schema = json.loads(Path("draft/schema.json").read_text())
    assert schema["features"]["job_title"]["categories"] == ["clerk", "driver", "nurse"]
    assert schema["features"]["balance"]["min"] == pytest.approx(np.nanmin(frame["balance"]), rel=1e-6)
    assert schema["features"]["balance"]["max_missing"] == pytest.approx(1 / 3, abs=1e-4)
    samples = json.loads(Path("draft/samples.json").read_text())
    assert {sample["source"] for sample in samples} == {"onnxruntime"}
    values = [row for sample in samples for (row,) in sample["inputs"]["balance"]]
    assert "NaN" in values
    assert {schema["features"]["balance"]["min"], schema["features"]["balance"]["max"]} <= {*values}
    assert {row for sample in samples for (row,) in sample["inputs"]["job_title"]} == {
        "clerk",
        "driver",
        "nurse",
    }
    baseline = json.loads(Path("draft/baseline.json").read_text())
    assert len(baseline["features"]["balance"]["shares"]) == 10
    assert baseline["features"]["balance"]["missing"] == pytest.approx(1 / 3)
    assert sorted(baseline["features"]["job_title"]["categories"]) == ["clerk", "driver", "nurse"]


def test_names_of_labels(loader: Loader) -> None:
    """Names in the target are the labels of a model that has only indices, in sorted order."""
    Path("made.onnx").write_bytes(exported(LogisticRegression().fit(X, CLASS), [FLOATS], zipmap=False))
    names = np.array(["a low", "b middle", "c high"])[CLASS]
    FRAME.assign(size=names).to_csv("test.csv", index=False)
    done = loader(
        *[
            "draft",
            "made.onnx",
            "--data",
            "test.csv",
            "--target",
            "size",
            "--name",
            "tiny",
            "--out",
            "draft",
            "--json",
        ]
    )
    report = json.loads(done.out)
    assert report["manifest"]["classes"] == ["a low", "b middle", "c high"]
    assert report["manifest"]["metrics"]["accuracy"] > 0.9
    feedback = json.loads(Path("draft/schema.json").read_text())["feedback"]
    assert feedback == {"size": {"type": "label", "output": "label", "classes": [0, 1, 2]}}


def test_fixed_batch(loader: Loader) -> None:
    """The samples of a model that takes four rows at once have four rows; other rows are left out."""
    Path("made.onnx").write_bytes(models.identity(models.FLOAT, (4, 3)))
    FRAME[:10].to_csv("test.csv", index=False)
    done = loader("draft", "made.onnx", "--data", "test.csv", "--name", "tiny", "--out", "draft")
    assert (done.code, done.err) == (0, "")
    assert "the last 2 rows are left out: the model takes 4 rows at once" in done.out
    samples = json.loads(Path("draft/samples.json").read_text())
    assert [np.shape(sample["inputs"]["x"]) for sample in samples] == [(4, 3), (4, 3)]
    assert loader("check", "draft").code == 0
    FRAME[:3].to_csv("test.csv", index=False)
    done = loader("draft", "made.onnx", "--data", "test.csv", "--name", "tiny", "--out", "draft")
    assert "the model takes 4 rows at once, and test.csv has 3" in done.err


def test_large_fixed_batch(loader: Loader) -> None:
    """A model that takes more rows at once than there are samples gets one sample of as many rows."""
    Path("made.onnx").write_bytes(models.identity(models.FLOAT, (32, 3)))
    FRAME[:70].to_csv("test.csv", index=False)
    done = loader("draft", "made.onnx", "--data", "test.csv", "--name", "tiny", "--out", "draft")
    assert (done.code, done.err) == (0, "")
    (sample,) = json.loads(Path("draft/samples.json").read_text())
    assert np.shape(sample["inputs"]["x"]) == (32, 3)


def test_quantized(loader: Loader) -> None:
    """A quantized model is compared with its framework within the tolerance that is accepted."""
    Path("made.onnx").write_bytes(models.quantized())
    x = RNG.normal(size=(ROWS, 8)).astype(np.float32)
    weights = np.array([(7 * i) % 19 - 9 for i in range(64)], np.float32).reshape(8, 8)
    given: dict[str, Any] = {"name": "tiny", "out": "draft", "predictions": {"y": x @ weights}}
    with pytest.raises(
        DraftError, match=r"rows differ, the largest .*give the accepted tolerance with --atol"
    ):
        draft("made.onnx", x, **given)
    assert not Path("draft").exists()
    report = draft("made.onnx", x, **given, atol=2)
    assert report.differences[0].largest is not None
    assert 0.01 < report.differences[0].largest < 2
    assert loader("check", "draft").code == 0


def test_rows_that_depend_on_others() -> None:
    """A model whose answers depend on the other rows of a request is refused."""
    mean = helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1)
    nodes = [mean, helper.make_node("Sub", ["x", "m"], ["y"])]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
    ends = [models.tensor("x", shape=("n", 3))], [models.tensor("y", shape=("n", 3))]
    Path("made.onnx").write_bytes(models.model(nodes, *ends, [axes]))
    predictions = {"y": X - X.mean(axis=0)}
    with pytest.raises(DraftError, match=r"output 'y' of row \d+ depends on the other rows of a request"):
        draft("made.onnx", X, name="tiny", out="draft", predictions=predictions)


@pytest.mark.parametrize("has_target", [False, True])
def test_boolean_classes(has_target: bool, loader: Loader) -> None:
    """The classes False and True are the labels 0 and 1 of the graph."""
    truth = np.isin(WORD, WORD[:1])
    model = LogisticRegression().fit(FRAME, truth)
    report = draft(model, FRAME, truth if has_target else None, name="tiny", out="draft")
    assert json.dumps(report.manifest["classes"]) == "[0, 1]"
    if has_target:
        assert report.manifest["metrics"]["accuracy"] == accuracy_score(truth, model.predict(FRAME))
    assert loader("check", "draft").code == 0


def test_estimator(loader: Loader) -> None:
    """A fitted estimator and a DataFrame make a draft with the estimator's own outputs."""
    model = RandomForestClassifier(5, random_state=1).fit(FRAME, WORD)
    report = draft(model, FRAME, pd.Series(WORD, name="size"), name="tiny", out="draft")
    assert report.has_expected
    assert report.manifest["features"] == list(FRAME.columns)
    assert report.manifest["classes"] == sorted(set(WORD))
    assert report.manifest["metrics"]["accuracy"] == accuracy_score(WORD, model.predict(FRAME))
    assert loader("publish", "draft", "--store", "file:store").code == 0
    assert loader("pull", "--store", "file:store").code == 0
    assert served(Path("model")) == 12
