"""Models of eight kinds, from their frameworks to the answer to a DataFrame. No file is written by hand."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from model_loader.__main__ import main
from model_loader.registry import draft
from tests.app.conftest import Server, StartServer, starting
from tests.frameworks import framework

pd = framework("pandas")
RNG = np.random.default_rng(23)
ROWS = 200
NUMBERS = pd.DataFrame(
    RNG.normal(size=(ROWS, 4)).round(3), columns=["width", "height", "fill level", "weight"]
)
TOTAL = NUMBERS.sum(axis=1)
CLASSES = np.array(["low", "middle", "high"])[np.digitize(TOTAL, [-1, 1])]
MIXED = pd.DataFrame(
    {
        "age": RNG.integers(18, 80, ROWS),
        "balance": np.where(np.arange(ROWS) % 9, (RNG.normal(size=ROWS) * 1000).round(2), np.nan),
        "job title": RNG.choice(["clerk", "driver", "nurse"], ROWS),
        "member": RNG.random(ROWS) > 0.5,
    }
)
TEXTS = pd.DataFrame(
    {"review": RNG.choice(["red wine", "a white wine from Köln", "dark beer", "beer"], ROWS)}
)
TOPICS = np.where(TEXTS["review"].str.contains("wine"), "wine", "beer")


@dataclass(frozen=True)
class Case:
    """A model that has been drafted.

    Attributes:
        rows: what a client has: a DataFrame.
        outputs: name → the framework's output for these rows.
        rtol: relative tolerance of the samples.
        atol: absolute tolerance of the samples.
    """

    rows: Any
    outputs: dict[str, Any]
    rtol: float = 1e-3
    atol: float = 1e-4


def mixed_columns(out: Path) -> Case:
    """A scikit-learn pipeline over integers, missing numbers, strings and booleans."""
    transform = ColumnTransformer(
        [
            ("number", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "balance"]),
            ("category", OneHotEncoder(handle_unknown="ignore"), ["job title", "member"]),
        ]
    )
    answer = pd.Series(np.where(MIXED["age"] > 50, "yes", "no"), name="answer")
    model = make_pipeline(transform, LogisticRegression(max_iter=1000)).fit(MIXED, answer)
    draft(model, MIXED, answer, name=out.name, out=out)
    return Case(MIXED, {"label": model.predict(MIXED), "probabilities": model.predict_proba(MIXED)})


def random_forest(out: Path) -> Case:
    """A random forest whose ONNX file has a ZipMap, as skl2onnx writes it, drafted with a CSV file."""
    values = NUMBERS.to_numpy(np.float32)
    model = RandomForestClassifier(10, random_state=0).fit(values, CLASSES)
    onnx_file, data = out.with_suffix(".onnx"), out.with_suffix(".csv")
    onnx_file.write_bytes(to_onnx(model, values[:1]).SerializeToString())
    NUMBERS.assign(size=CLASSES).to_csv(data, index=False)
    run("draft", onnx_file, "--data", data, "--target", "size", "--name", out.name, "--out", out)
    probabilities = [dict(zip(model.classes_, row, strict=True)) for row in model.predict_proba(values)]
    return Case(NUMBERS, {"output_label": model.predict(values), "output_probability": probabilities})


def xgboost(out: Path) -> Case:
    """A regressor of XGBoost."""
    model = framework("xgboost").XGBRegressor(n_estimators=10, max_depth=3).fit(NUMBERS, TOTAL)
    draft(model, NUMBERS, TOTAL, name=out.name, out=out)
    return Case(NUMBERS, {"prediction": model.predict(NUMBERS)[:, None]})


def lightgbm(out: Path) -> Case:
    """A classifier of LightGBM with strings as classes."""
    rows = NUMBERS.rename(columns={"fill level": "fill_level"})  # LightGBM itself allows no spaces
    model = framework("lightgbm").LGBMClassifier(n_estimators=10, verbose=-1).fit(rows, CLASSES)
    draft(model, rows, CLASSES, name=out.name, out=out)
    return Case(rows, {"label": model.predict(rows), "probabilities": model.predict_proba(rows)})


def catboost(out: Path) -> Case:
    """A classifier of CatBoost."""
    classifier = framework("catboost").CatBoostClassifier
    model = classifier(iterations=10, depth=3, verbose=False, allow_writing_files=False).fit(NUMBERS, CLASSES)
    draft(model, NUMBERS, CLASSES, name=out.name, out=out)
    return Case(
        NUMBERS, {"label": model.predict(NUMBERS)[:, 0], "probabilities": model.predict_proba(NUMBERS)}
    )


def torch(out: Path) -> Case:
    """A network of torch, by its new exporter, with its weights in a file of their own."""
    library = framework("torch")
    library.manual_seed(0)
    nn = library.nn
    model = nn.Sequential(nn.Linear(4, 256), nn.ReLU(), nn.Dropout(), nn.Linear(256, 3), nn.Softmax(dim=1))
    draft(model, NUMBERS, name=out.name, out=out)
    assert (out / "model.onnx.data").stat().st_size > 4 * 4 * 256
    with library.no_grad():
        expected = model.eval()(library.tensor(NUMBERS.to_numpy(np.float32)))
    return Case(NUMBERS, {"output": expected.numpy()})


def quantised_transformer(out: Path) -> Case:
    """Attention over tokens, quantised dynamically, so that the answer to a row depends on its batch."""
    library = framework("torch")
    from onnxruntime.quantization import quantize_dynamic

    from model_loader.drafting.frameworks import export

    class Encoder(library.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed = library.nn.Embedding(50, 32)
            self.attend = library.nn.MultiheadAttention(32, 4, batch_first=True)
            self.classify = library.nn.Linear(32, 2)

        def forward(self, tokens: Any) -> Any:
            embedded = self.embed(tokens)
            attended, _ = self.attend(embedded, embedded, embedded)
            return self.classify(attended.mean(1))

    library.manual_seed(0)
    tokens = pd.DataFrame(RNG.integers(0, 50, (ROWS, 8)), columns=[f"token {n}" for n in range(8)])
    exported = export(Encoder(), library.tensor(tokens.to_numpy()), out.with_suffix(".float"))
    quantised = out.with_suffix(".onnx")
    quantize_dynamic(out.with_suffix(".float") / "model.onnx", quantised)
    draft(quantised, tokens, name=out.name, out=out, predictions=exported.outputs, rtol=0.05, atol=0.05)
    return Case(tokens, exported.outputs, 0.05, 0.05)


def text(out: Path) -> Case:
    """A classifier of sentences: TF-IDF, with words that are not ASCII."""
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS["review"], TOPICS)
    draft(model, TEXTS["review"], TOPICS, name=out.name, out=out)
    probabilities = model.predict_proba(TEXTS["review"])
    return Case(TEXTS, {"label": model.predict(TEXTS["review"]), "probabilities": probabilities})


KINDS = (mixed_columns, random_forest, xgboost, lightgbm, catboost, torch, quantised_transformer, text)


def run(*argv: object) -> None:
    """Run a command of the loader."""
    assert main([str(argument) for argument in argv]) == 0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartServer]:
    """A function that starts the service."""
    with starting(tmp_path) as start:
        yield start


def predictions(server: Server, body: str, content_type: str = "application/json") -> list[Any]:
    """Send a request and return a list with an item for each row."""
    with closing(server.connect()) as connection:
        connection.request("POST", "/score", body.encode(), {"content-type": content_type})
        response = connection.getresponse()
        reply = response.read()
    assert response.status == 200, reply
    answers: list[Any] = json.loads(reply)["predictions"]
    return answers


def compare(answers: list[Any], case: Case, rows: slice) -> None:
    """Compare the service's answers for some rows with the framework's outputs, within the tolerance."""
    for name, outputs in case.outputs.items():
        values = [answer[name] for answer in answers]
        expected = outputs[rows]
        if isinstance(expected, list):
            for value, classes in zip(values, expected, strict=True):
                assert value == pytest.approx(classes, case.rtol, case.atol)
        elif expected.dtype.kind == "f":
            np.testing.assert_allclose(values, expected, case.rtol, case.atol)
        else:
            assert values == expected.tolist()


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_own_model(make: Callable[[Path], Case], start: StartServer, tmp_path: Path) -> None:
    """A model is drafted, checked, published, pulled and served, and answers as its framework does."""
    out, package = tmp_path / make.__name__, tmp_path / "model"
    case = make(out)
    store = ("--store", f"file:{tmp_path / 'store'}")
    run("check", out)
    run("publish", out, *store)
    run("pull", "--output", package, "--lock", tmp_path / "model.lock", *store)
    server = start(package, DRAIN_DELAY_S="0").wait_until_ready()
    some = slice(1, 6)
    rows = case.rows[some]
    for form in (
        {"dataframe_split": rows.to_dict("split")},
        {"dataframe_records": rows.to_dict("records")},
        {"instances": rows.to_dict("records")},
    ):
        compare(predictions(server, json.dumps(form)), case, some)
    compare(predictions(server, case.rows.to_json(orient="split")), case, slice(None))
    compare(predictions(server, case.rows.to_csv(index=False), "text/csv"), case, slice(None))
