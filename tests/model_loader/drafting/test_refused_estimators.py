"""Estimators and data that cannot be exported, and why."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import DBSCAN
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline

from model_loader.drafting.frameworks import export
from model_loader.errors import DraftError
from tests.frameworks import framework

pd = framework("pandas")
ROWS = 12
RNG = np.random.default_rng(7)
X = RNG.normal(size=(ROWS, 4)).astype(np.float32)
NUMBER = X[:, 0] + 2 * X[:, 1]
THREE = np.digitize(NUMBER, [-1, 1])
FRAME = pd.DataFrame(X, columns=["a", "b c", "d%", "e"])
MIXED = pd.DataFrame(
    {
        "age": RNG.integers(18, 80, ROWS),
        "job title": RNG.choice(["clerk", "driver", "nurse"], ROWS),
        "children": RNG.integers(0, 4, ROWS),
        "unused": RNG.random(ROWS),
    }
)


class Named:
    """An object of no framework."""


FITTED = LinearRegression().fit(X, NUMBER)


@pytest.mark.parametrize(
    ("model", "x", "words"),
    [
        (Named(), X, r"a tests\.\S*Named cannot be exported: expected a fitted estimator of scikit-learn"),
        (
            DBSCAN().fit(X),
            X,
            "a DBSCAN cannot be exported: expected an estimator that predicts or transforms",
        ),
        (NearestCentroid().fit(X, THREE), X, r"skl2onnx [\d.]+ cannot convert the NearestCentroid: "),
        (FITTED, X.ravel(), "expected strings, got"),
        (
            FITTED,
            MIXED.assign(day=pd.Timestamp("2026-01-01")),
            "column 'day' is of type datetime64.*; leave it out",
        ),
        (FITTED, FRAME.rename(columns={"a": 1}), "names that are strings, got .*: fit with named columns"),
        (
            FITTED,
            MIXED.assign(city=["Köln", None] * (ROWS // 2)),
            "'city': expected strings, got nan in row 1",
        ),
    ],
)
def test_refused(model: Any, x: Any, words: str, tmp_path: Path) -> None:
    """What cannot be exported is refused, with the class, the column or the value."""
    with pytest.raises(DraftError, match=words):
        export(model, x, tmp_path)


def test_refused_columns(tmp_path: Path) -> None:
    """Columns with the same name for skl2onnx are refused, and strings for trees that take numbers."""
    twice = MIXED.rename(columns={"children": "job_title"})
    only = ColumnTransformer([("number", "passthrough", ["age", "unused"])])
    with pytest.raises(DraftError, match="columns 'job title' and 'job_title' are both"):
        export(make_pipeline(only, LinearRegression()).fit(twice, NUMBER), twice, tmp_path)
    model = framework("lightgbm").LGBMRegressor(verbose=-1).fit(X, NUMBER)
    with pytest.raises(
        DraftError, match=r"column 'job title' is of type .*: this model takes numbers; encode"
    ):
        export(model, MIXED, tmp_path)
    numbered = FRAME.assign(e=pd.Series([1, 2, 3] * (ROWS // 3), dtype="category"))
    with pytest.raises(DraftError, match="column 'e' is of type category: this model takes numbers; encode"):
        export(model, numbered, tmp_path)


def test_refused_classes(tmp_path: Path) -> None:
    """LightGBM's converter has no boolean classes: the message says what to fit in their place."""
    model = framework("lightgbm").LGBMClassifier(n_estimators=2, verbose=-1).fit(X, NUMBER > 0)
    with pytest.raises(DraftError, match="fit it with the classes 0 and 1 in place of False and True"):
        export(model, X, tmp_path)


def test_refused_outputs(tmp_path: Path) -> None:
    """Trees of XGBoost with several outputs are refused: the converter's graph would give other answers."""
    model = framework("xgboost").XGBRegressor(n_estimators=2).fit(X, np.c_[NUMBER, -NUMBER])
    with pytest.raises(DraftError, match=r"cannot convert the XGBRegressor: .* several values for each row"):
        export(model, X, tmp_path)


def test_missing_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the package that is missing."""
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(
        DraftError, match=r"the export of a LinearRegression needs skl2onnx.*pip install skl2onnx"
    ):
        export(FITTED, X, tmp_path)
