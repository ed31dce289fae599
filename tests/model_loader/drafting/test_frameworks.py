"""Exports of fitted estimators: what the graph answers is what the framework answered."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from model_loader.drafting.frameworks import Export, export
from model_loader.package import MODEL_FILE
from tests.frameworks import framework

pd = framework("pandas")
ROWS = 120
RNG = np.random.default_rng(7)
X = RNG.normal(size=(ROWS, 4)).astype(np.float32)
NUMBER = X[:, 0] + 2 * X[:, 1]
BINARY = (NUMBER > 0).astype(int)
THREE = np.digitize(NUMBER, [-1, 1])
WORDS = np.array(["low", "middle", "high"])[THREE]
FRAME = pd.DataFrame(X, columns=["a", "b c", "d%", "e"])
MIXED = pd.DataFrame(
    {
        "age": RNG.integers(18, 80, ROWS),
        "balance (EUR)": np.where(np.arange(ROWS) % 9, RNG.normal(size=ROWS) * 1000, np.nan),
        "job title": RNG.choice(["clerk", "driver", "nurse"], ROWS),
        "member": RNG.random(ROWS) > 0.5,
        "children": RNG.integers(0, 4, ROWS),
        "unused": RNG.random(ROWS),
    }
)
ANSWER = np.where(MIXED["age"] > 50, "yes", "no")
CLUSTERS: dict[str, list[Any]] = {"x": ["batch", 4], "label": ["batch"], "distances": ["batch", 3]}
TEXTS = ["red wine", "white wine from Köln", "dark beer", "light beer", "red red beer", "wine"] * 4
TOPICS = ["wine", "wine", "beer", "beer", "beer", "wine"] * 4


def columns() -> ColumnTransformer:
    """Return an untrained transformer of mixed columns."""
    encode = OneHotEncoder(handle_unknown="ignore")
    scale = make_pipeline(SimpleImputer(), StandardScaler())
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer(
        [
            ("number", scale, ["age", "balance (EUR)"]),
            ("category", encode, ["job title", "children"]),
            ("flag", ordinal, ["member"]),
        ]
    )


def check(exported: Export, directory: Path) -> dict[str, list[Any]]:
    """Compare what ONNX Runtime answers with the framework's outputs; return the declared shapes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(directory / MODEL_FILE, options)
    assert [node.name for node in session.get_outputs()] == list(exported.outputs)
    assert {node.name for node in session.get_inputs()} == exported.inputs.keys()
    answers = session.run(None, exported.inputs)
    for answer, expected in zip(answers, exported.outputs.values(), strict=True):
        assert (answer.shape, answer.dtype) == (expected.shape, expected.dtype)
        if answer.dtype.kind == "f":
            np.testing.assert_allclose(answer, expected, 1e-4, 1e-5)
        else:
            np.testing.assert_array_equal(answer, expected)
    return {node.name: node.shape for node in [*session.get_inputs(), *session.get_outputs()]}


MODELS: dict[str, tuple[Callable[[], Any], Any, Any, dict[str, list[Any]]]] = {
    "classifier": (
        lambda: make_pipeline(StandardScaler(), LogisticRegression()),
        X,
        WORDS,
        {"x": ["batch", 4], "label": ["batch"], "probabilities": ["batch", 3]},
    ),
    "booleans": (
        LogisticRegression,
        X,
        BINARY > 0,
        {"x": ["batch", 4], "label": ["batch"], "probabilities": ["batch", 2]},
    ),
    "forest": (
        lambda: RandomForestClassifier(5, random_state=1),
        FRAME,
        THREE,
        {"x": ["batch", 4], "label": ["batch"], "probabilities": ["batch", 3]},
    ),
    "histogram trees": (
        lambda: HistGradientBoostingClassifier(max_iter=5),
        X,
        WORDS,
        {"x": ["batch", 4], "label": ["batch"], "probabilities": ["batch", 3]},
    ),
    "histogram trees of numbers": (
        lambda: make_pipeline(StandardScaler(), HistGradientBoostingRegressor(max_iter=5)),
        FRAME,
        NUMBER,
        {"x": ["batch", 4], "prediction": ["batch", 1]},
    ),
    "no probabilities": (RidgeClassifier, X, WORDS, {"x": ["batch", 4], "label": ["batch"]}),
    "regressor": (LinearRegression, FRAME, NUMBER, {"x": ["batch", 4], "prediction": ["batch", 1]}),
    "two outputs": (
        lambda: RandomForestRegressor(5, random_state=1),
        X,
        np.c_[NUMBER, -NUMBER],
        {"x": ["batch", 4], "prediction": ["batch", 2]},
    ),
    "two labels": (
        lambda: MultiOutputClassifier(LogisticRegression()),
        X,
        np.c_[BINARY, THREE],
        {"x": ["batch", 4], "label": ["batch", 2]},
    ),
    "clusters": (lambda: KMeans(3, n_init=1, random_state=1), X, None, CLUSTERS),
    "clusters of float64": (
        lambda: make_pipeline(StandardScaler(), KMeans(3, n_init=1, random_state=1)),
        FRAME.astype(np.float64),
        None,
        CLUSTERS,
    ),
    "outliers": (
        lambda: IsolationForest(n_estimators=5, random_state=1),
        X,
        None,
        {"x": ["batch", 4], "label": ["batch", 1], "scores": ["batch", 1]},
    ),
    "transformer": (lambda: PCA(2), X, None, {"x": ["batch", 4], "transformed": ["batch", 2]}),
    "mixed columns": (
        lambda: make_pipeline(columns(), LogisticRegression(max_iter=1000)),
        MIXED,
        ANSWER,
        {name: ["batch", 1] for name in MIXED.columns} | {"label": ["batch"], "probabilities": ["batch", 2]},
    ),
    "numbers by name": (
        lambda: make_pipeline(ColumnTransformer([("s", StandardScaler(), ["b c", "a"])]), LinearRegression()),
        FRAME,
        NUMBER,
        {name: ["batch", 1] for name in [*FRAME.columns, "prediction"]},
    ),
    "text": (
        lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()),
        pd.Series(TEXTS, name="review"),
        TOPICS,
        {"review": ["batch"], "label": ["batch"], "probabilities": ["batch", 2]},
    ),
    "text and numbers": (
        lambda: make_pipeline(
            ColumnTransformer([("words", TfidfVectorizer(), "text"), ("rest", "passthrough", ["stars"])]),
            LogisticRegression(),
        ),
        pd.DataFrame({"text": TEXTS, "stars": np.arange(len(TEXTS)) % 5}),
        TOPICS,
        {"text": ["batch", 1], "stars": ["batch", 1], "label": ["batch"], "probabilities": ["batch", 2]},
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_scikit_learn(name: str, tmp_path: Path) -> None:
    """An estimator's graph answers as it does, and declares the batch in every shape."""
    make, x, y, shapes = MODELS[name]
    model = make().fit(x, y)
    exported = export(model, x, tmp_path)
    assert check(exported, tmp_path) == shapes
    assert exported.features == (tuple(FRAME.columns) if hasattr(x, "equals") and "x" in shapes else None)


def test_mixed_types(tmp_path: Path) -> None:
    """Each column is an input of its own type and name, also one that the model does not use."""
    model = make_pipeline(columns(), LogisticRegression(max_iter=1000)).fit(MIXED, ANSWER)
    exported = export(model, MIXED, tmp_path)
    assert {name: array.dtype.kind for name, array in exported.inputs.items()} == {
        "age": "i",
        "balance (EUR)": "f",
        "job title": "O",
        "member": "b",
        "children": "i",
        "unused": "f",
    }
    assert exported.classes == ("no", "yes")
    assert exported.outputs["label"].tolist() == model.predict(MIXED).tolist()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in ("xgboost", "lightgbm", "catboost")
        for kind in ("binary", "several", "words", "regressor")
        if (name, kind) != ("xgboost", "words")  # XGBoost itself takes only numbers as classes
    ],
)
def test_boosted_trees(name: str, kind: str, tmp_path: Path) -> None:
    """The trees of each framework answer in ONNX as there: labels, classes, probabilities and numbers."""
    library = framework(name)
    quiet: dict[str, Any] = {
        "xgboost": {},
        "lightgbm": {"verbose": -1},
        "catboost": {"verbose": False, "allow_writing_files": False},
    }
    prefix = {"xgboost": "XGB", "lightgbm": "LGBM", "catboost": "CatBoost"}[name]
    y: NDArray[Any] = {"binary": BINARY, "several": THREE, "words": WORDS, "regressor": NUMBER}[kind]
    model = getattr(library, prefix + ("Regressor" if kind == "regressor" else "Classifier"))(
        n_estimators=6, max_depth=3, **quiet[name]
    )
    # LightGBM replaces what JSON does not allow in a feature's name, and warns.
    x = FRAME.rename(columns={"b c": "b", "d%": "d"})
    exported = export(model.fit(x, y), x, tmp_path)
    shapes = list(check(exported, tmp_path).values())
    assert exported.features == ("a", "b", "d", "e")
    if kind == "regressor":
        assert shapes == [["batch", 4], ["batch", 1]]
        assert exported.classes is None
    else:
        assert shapes == [["batch", 4], ["batch"], ["batch", len(set(y))]]
        assert exported.classes == tuple(sorted(set(y.tolist())))


def test_torch(tmp_path: Path) -> None:
    """A module is exported in evaluation mode, with weights in a file of their own and any number of rows."""
    torch = framework("torch")
    layers = [torch.nn.Linear(4, 64), torch.nn.Dropout(), torch.nn.Linear(64, 3), torch.nn.Softmax(dim=1)]
    model = torch.nn.Sequential(*layers)
    exported = export(model, FRAME, tmp_path)
    assert check(exported, tmp_path) == {"input": ["batch", 4], "output": ["batch", 3]}
    assert exported.features == tuple(FRAME.columns)
    assert (tmp_path / "model.onnx.data").stat().st_size > 4 * 4 * 64
    assert model.training


def test_torch_state(tmp_path: Path) -> None:
    """Several arguments of `forward` are inputs, and the keys of what it returns are outputs."""
    torch = framework("torch")

    class Step(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.cell = torch.nn.GRUCell(4, 8)

        def forward(self, x: Any, state: Any) -> dict[str, Any]:
            following = self.cell(x, state)
            return {"total": following.sum(1), "next_state": following}

    x = {"x": X[:1].astype(float), "state": torch.zeros(1, 8)}
    exported = export(Step(), x, tmp_path)
    assert check(exported, tmp_path) == {
        "x": ["batch", 4],
        "state": ["batch", 8],
        "total": ["batch"],
        "next_state": ["batch", 8],
    }


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_pipeline_of_boosted_trees(name: str, tmp_path: Path) -> None:
    """A pipeline of scikit-learn may end in the trees of XGBoost or LightGBM."""
    library = framework(name)
    trees = library.XGBClassifier(n_estimators=5) if name == "xgboost" else library.LGBMClassifier(verbose=-1)
    y = (ANSWER == "yes").astype(int)
    exported = export(make_pipeline(columns(), trees).fit(MIXED, y), MIXED, tmp_path)
    assert check(exported, tmp_path)["probabilities"] == ["batch", 2]


@pytest.mark.parametrize("passed", [False, True], ids=["alone", "in a pipeline"])
def test_thresholds_of_lightgbm(passed: bool, tmp_path: Path) -> None:
    """Decimals that are equal to thresholds of LightGBM are on the same side of them in the graph."""
    names = ["a", "b", "c"]
    x = pd.DataFrame(RNG.integers(0, 40, (600, 3)) / 100, columns=names)
    model = framework("lightgbm").LGBMRegressor(n_estimators=30, min_child_samples=2, verbose=-1)
    if passed:
        keep = ColumnTransformer([("keep", "passthrough", names)]).set_output(transform="pandas")
        model = make_pipeline(keep, model)
    even = (x * 50).round() / 50  # so that odd hundredths are thresholds
    model.fit(even, even.sum(axis=1))
    assert np.abs(model.predict(x) - model.predict(x.astype("float32"))).max() > 1e-3
    exported = export(model, x, tmp_path)
    check(exported, tmp_path)
    np.testing.assert_allclose(exported.outputs["prediction"][:, 0], model.predict(x), 1e-6)
