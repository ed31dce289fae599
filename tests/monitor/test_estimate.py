"""The estimate without labels follows a change of the inputs, and not one of what is true."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from monitor.database import connect, run
from monitor.estimate import estimate, isotonic, read_calibrations
from monitor.measures import Measure, measure

Data = tuple[NDArray[Any], NDArray[Any]]


def synthetic() -> Data:
    """Return rows of three classes."""
    found: Data = make_classification(
        40_000, 10, n_informative=6, n_classes=3, class_sep=0.8, flip_y=0.05, random_state=1
    )
    return found


def enlarged(load: Callable[..., Data]) -> Callable[[], Data]:
    """Return a function for rows of a small data set, drawn with noise until there are enough."""

    def draw() -> Data:
        x, y = load(return_X_y=True)
        random = np.random.default_rng(5)
        index = random.integers(0, len(x), 24_000)
        return x[index] + random.normal(0, 1, (len(index), x.shape[1])) * x.std(axis=0) * 0.9, y[index]

    return draw


# Inputs that differ between earlier and recent rows.
SHIFTED = 4
CASES: Mapping[str, tuple[Callable[[], Data], Any]] = {
    "synthetic": (synthetic, HistGradientBoostingClassifier(max_iter=30, random_state=0)),
    "digits": (enlarged(load_digits), make_pipeline(StandardScaler(), LogisticRegression())),
    "breast_cancer": (enlarged(load_breast_cancer), make_pipeline(StandardScaler(), LogisticRegression())),
}


def estimated(x: NDArray[Any], y: NDArray[Any], model: Any, recent: NDArray[Any]) -> dict[str, Measure]:
    """Return measures and estimates of recent rows, with labels of the others only for the calibration."""
    p = model.predict_proba(x)
    predicted, rows = p.argmax(axis=1), np.arange(len(x))
    columns = {
        "truth": y, "predicted": predicted, "top": predicted, "confidence": p.max(axis=1),
        "chosen": p[rows, predicted], "loss": -np.log(np.clip(p[rows, y], 1e-9, 1)), "recent": recent,
        "brier": np.zeros(len(x)), "bin": np.zeros(len(x), np.int8),
    }  # fmt: skip
    columns |= {f"p{index}": p[:, index] for index in range(p.shape[1])}
    classes = {1: [str(index) for index in range(p.shape[1])]}
    with connect() as connection:
        connection.register("source", columns)
        members = ", ".join(f"p{index}" for index in range(p.shape[1]))
        run(connection, f"CREATE TABLE scored AS SELECT 1 AS version, *, [{members}] AS p FROM source")
        truth = measure(connection, classes, "recent")[1, None].measures
        calibrations = read_calibrations(connection, "NOT recent")
        found = estimate(connection, classes, calibrations, "recent")[1, None]
    return {each.metric: each for each in (*truth, *found)}


@pytest.mark.parametrize("case", CASES)
def test_covariate_shift(case: str) -> None:
    """With other inputs of the same kind, the estimate is within 0.02 of the truth."""
    load, model = CASES[case]
    x, y = load()
    half = len(x) // 3
    model.fit(x[:half], y[:half])
    x, y = x[half:], y[half:]
    random = np.random.default_rng(2)
    # Recent rows are mostly those with large values of one or of few inputs.
    side = ((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9))[:, :SHIFTED].mean(axis=1)
    recent = random.random(len(x)) < 1 / (1 + np.exp(-2 * side / side.std()))
    found = estimated(x, y, model, recent)
    before = estimated(x, y, model, ~recent)
    print(case, before["accuracy"].value, found["accuracy"].value, found["estimated_accuracy"].value,
          found["macro_f1"].value, found["estimated_macro_f1"].value)  # fmt: skip
    assert found["estimated_accuracy"].value == pytest.approx(found["accuracy"].value, abs=0.02)
    assert found["estimated_macro_f1"].value == pytest.approx(found["macro_f1"].value, abs=0.02)


def test_concept_drift() -> None:
    """When the same inputs mean something else, the estimate stays where it was."""
    x, y = synthetic()
    model = GaussianNB().fit(x[:4000], y[:4000])
    x, y = x[4000:], y[4000:].copy()
    recent = np.arange(len(x)) > 4000
    y[recent] = (y[recent] + (x[recent, 0] > 0)) % 3
    found = estimated(x, y, model, recent)
    assert found["estimated_accuracy"].value - found["accuracy"].value > 0.2


def test_isotonic() -> None:
    """Violators are pooled to their weighted mean."""
    values, weights = np.array([0.1, 0.5, 0.2, 0.9, 0.8]), np.array([1.0, 1.0, 2.0, 1.0, 1.0])
    assert isotonic(values, weights) == pytest.approx([0.1, 0.3, 0.3, 0.85, 0.85])
