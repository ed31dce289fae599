"""`draft`: from a model and its data to a package that publishes, pulls and passes its self-test."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from onnx import TensorProto, helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from app.model.self_test import load_and_verify
from app.settings import Settings
from model_loader.errors import DraftError
from model_loader.package import read_package
from model_loader.registry import draft
from tests import models
from tests.model_loader.command_line import Loader
from tests.model_loader.drafts import write_draft, write_external

ROWS = 90
RNG = np.random.default_rng(3)
X = RNG.normal(size=(ROWS, 3)).astype(np.float32)
NUMBER = (X[:, 0] + 2 * X[:, 1]).astype(np.float32)
CLASS = np.digitize(NUMBER, [-1, 1])
WORD = np.array(["low", "middle", "high"])[CLASS]
FRAME = pd.DataFrame(X, columns=["alpha", "beta one", "gamma"])
MIXED = pd.DataFrame(
    {
        "age": RNG.integers(18, 80, ROWS),
        "job title": RNG.choice(["clerk", "driver", "nurse"], ROWS),
        "balance": (RNG.normal(size=ROWS) * 1000).astype(np.float32),
    }
)
PAYS = np.where(MIXED["age"] > 50, "yes", "no")
TEXTS = np.array(["red wine", "white wine", "dark beer", "light beer, cold", "red beer", "wine"] * 15)
TOPIC = np.array(["wine", "wine", "beer", "beer", "beer", "wine"] * 15)
FLOATS = ("x", FloatTensorType([None, 3]))


def exported(model: Any, types: list[tuple[str, Any]], **options: Any) -> bytes:
    """Return a fitted model as ONNX, as skl2onnx writes it."""
    graph = convert_sklearn(
        model, initial_types=types, options=options or None, target_opset={"": 18, "ai.onnx.ml": 3}
    )
    for node in graph.graph.node:
        if node.op_type == "StringNormalizer":
            node.attribute.append(helper.make_attribute("locale", "C.UTF-8"))
    data: bytes = graph.SerializeToString()
    return data


def mixed_columns() -> tuple[bytes, pd.DataFrame, dict[str, Any], Any]:
    encode = ColumnTransformer(
        [
            ("n", StandardScaler(), ["age", "balance"]),
            ("c", OneHotEncoder(handle_unknown="ignore"), ["job title"]),
        ]
    )
    model = make_pipeline(encode, LogisticRegression(max_iter=1000)).fit(MIXED, PAYS)
    types = [
        ("age", Int64TensorType([None, 1])),
        ("job title", StringTensorType([None, 1])),
        ("balance", FloatTensorType([None, 1])),
    ]
    probabilities = model.predict_proba(MIXED)
    outputs = {"label": model.predict(MIXED), "probabilities_no": probabilities[:, 0]}
    outputs["probabilities_yes"] = probabilities[:, 1]
    return exported(model, types, zipmap=False), MIXED, outputs, PAYS


def forest_with_zipmap() -> tuple[bytes, pd.DataFrame, dict[str, Any], Any]:
    model = RandomForestClassifier(5, random_state=1).fit(X, CLASS)
    probabilities = model.predict_proba(X)
    outputs = {"output_label": model.predict(X)} | {str(i): probabilities[:, i] for i in range(3)}
    return exported(model, [FLOATS]), FRAME, outputs, CLASS


def words_as_labels() -> tuple[bytes, pd.DataFrame, dict[str, Any], Any]:
    model = LogisticRegression().fit(X, WORD)
    probabilities = model.predict_proba(X)
    outputs = {"label": model.predict(X)} | {f"probabilities_{i}": probabilities[:, i] for i in range(3)}
    return exported(model, [FLOATS], zipmap=False), FRAME, outputs, WORD


def regressor() -> tuple[bytes, pd.DataFrame, dict[str, Any], Any]:
    model = LinearRegression().fit(X, NUMBER + 0.1 * X[:, 2] ** 2)
    return exported(model, [FLOATS]), FRAME, {"anything": model.predict(X)}, NUMBER


def text(*shape: int) -> Callable[[], tuple[bytes, pd.DataFrame, dict[str, Any], Any]]:
    def make() -> tuple[bytes, pd.DataFrame, dict[str, Any], Any]:
        model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, TOPIC)
        outputs = {"label": model.predict(TEXTS)}
        return (
            exported(model, [("text", StringTensorType([None, *shape]))], zipmap=False),
            pd.DataFrame({"words": TEXTS}),
            outputs,
            TOPIC,
        )

    return make


def strings_in() -> tuple[bytes, pd.DataFrame, dict[str, Any], Any]:
    frame = pd.DataFrame({"job": MIXED["job title"], "zip code": [f"0{i % 3}" for i in range(ROWS)]})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(frame.to_numpy(object), CLASS)
    outputs = {"label": model.predict(frame.to_numpy(object))}
    return exported(model, [("x", StringTensorType([None, 2]))], zipmap=False), frame, outputs, CLASS


KINDS = {
    "mixed columns": mixed_columns,
    "forest with ZipMap": forest_with_zipmap,
    "strings as labels": words_as_labels,
    "regressor": regressor,
    "text": text(),
    "column of texts": text(1),
    "strings in": strings_in,
}


def write_table(table: pd.DataFrame, path: str) -> None:
    """Write a table in the format of the path's extension."""
    match Path(path).suffix:
        case ".csv":
            table.to_csv(path, index=False)
        case ".parquet":
            table.to_parquet(path)
        case ".jsonl":
            table.to_json(path, orient="records", lines=True)


def served(package: Path) -> int:
    """Load a package as the service does, verify it with its samples, and return how many there are."""
    verified = load_and_verify(Settings(model_path=package, web_concurrency=1).resolved())
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


def test_draft_again(loader: Loader) -> None:
    """A draft is replaced by a new one; a directory with anything else is refused and does not change."""
    Path("made.onnx").write_bytes(models.affine())
    pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}).to_csv("test.csv", index=False)
    command = ["draft", "made.onnx", "--data", "test.csv", "--name", "tiny", "--out", "build/draft"]
    assert [loader(*command).code for _ in range(2)] == [0, 0]
    assert [path.name for path in Path("build").iterdir()] == ["draft"]
    (Path("build/draft") / "people.csv").write_text("name")
    done = loader(*command)
    assert done.code == 1
    assert "build/draft has people.csv, which is not part of a draft" in done.err
    assert Path("build/draft/people.csv").exists()


@pytest.mark.parametrize("is_published", [False, True])
def test_foreign_directory(is_published: bool, loader: Loader) -> None:
    """A draft that somebody wrote, and a package that was pulled, are not replaced."""
    directory = write_draft(Path("made"))
    if is_published:
        assert loader("publish", "made", "--store", "file:store").code == 0
        assert loader("pull", "--store", "file:store").code == 0
        directory = Path("model")
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}).to_csv("test.csv", index=False)
    done = loader("draft", "made/model.onnx", "--data", "test.csv", "--name", "tiny", "--out", directory)
    assert done.code == 1
    assert f"{directory} is not empty, and was not written by draft" in done.err
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_external_data(loader: Loader) -> None:
    """The files that a model's weights are in are part of the draft."""
    write_external(Path("exported"), "sub/weights.bin", columns=2)
    np.savez("test.npz", x=np.zeros((5, 1024), np.float32))
    done = loader(*["draft", "exported/model.onnx", "--data", "test.npz", "--name", "tiny", "--out", "draft"])
    assert (done.code, done.err) == (0, "")
    assert Path("draft/sub/weights.bin").stat().st_size == 1024 * 2 * 4


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"y_0": [3.0] * 4, "y_1": [5.0] * 4}, "predictions.csv has 4 rows: expected 6, one for each row"),
        ({"z": [1.0] * 6}, "expected columns named as the outputs, y, with _0, _1, …"),
        (
            {"y_0": [3.0] * 6, "y_1": [9.0] * 6},
            "output 'y': 6 of 6 rows differ, the largest difference is 8, in row 1",
        ),
        ({"y_0": [3.0] * 6, "y_1": ["?"] * 6}, "column 'y_1', row 1: expected a number.*, got '\\?'"),
    ],
)
def test_bad_predictions(loader: Loader, outputs: dict[str, Any], message: str) -> None:
    """Predictions of another model, or for other rows, are refused, and nothing is written."""
    Path("made.onnx").write_bytes(models.affine())
    pd.DataFrame({"a": [1.0] * 6, "b": [0.0] * 6}).to_csv("test.csv", index=False)
    pd.DataFrame(outputs).to_csv("predictions.csv", index=False)
    done = loader(
        *[
            "draft",
            "made.onnx",
            "--data",
            "test.csv",
            "--name",
            "tiny",
            "--out",
            "draft",
            "--predictions",
            "predictions.csv",
        ]
    )
    assert done.code == 1
    assert re.search(message, done.err)
    assert not Path("draft").exists()


def test_few_rows_differ() -> None:
    """A row that a framework answers differently is reported, and is not a sample."""
    Path("made.onnx").write_bytes(models.affine())
    y = 2 * X[:, :2].repeat(2, axis=0) + 1
    y[7] += 1
    report = draft(
        "made.onnx", {"x": X[:, :2].repeat(2, axis=0)}, name="tiny", out="draft", predictions={"y": y}
    )
    assert report.warnings[-1].startswith("output 'y': 1 of 180 rows differ, the largest difference is 1")
    y[5] += 1
    with pytest.raises(DraftError, match="output 'y': 2 of 180 rows differ"):
        draft("made.onnx", {"x": X[:, :2].repeat(2, axis=0)}, name="tiny", out="draft", predictions={"y": y})


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "a/b"], r"expected the name of a model, which matches .*, got 'a/b'"),
        (["--rtol", "1"], r"expected rtol to be a number from 0 to below 1, got 1.0"),
        (["--atol", "nan"], r"expected atol to be a number of 0 or more, got nan"),
        (["--out", "test.csv"], r"test.csv is a file: give a directory for the draft"),
        (["--target", "c"], r"test.csv has no column 'c' for the target; it has a, b"),
    ],
)
def test_bad_argument(arguments: list[str], message: str, loader: Loader) -> None:
    """An argument that cannot be used is refused before anything is written."""
    Path("made.onnx").write_bytes(models.affine())
    pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}).to_csv("test.csv", index=False)
    command = ["draft", "made.onnx", "--data", "test.csv", "--name", "tiny", "--out", "draft"]
    done = loader(*command, *arguments)
    assert done.code == 1
    assert re.search(message, done.err)
    assert sorted(path.name for path in Path().iterdir()) == ["made.onnx", "test.csv"]


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
