"""Which outputs are evaluated on the target, and how."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model_loader.drafting.evaluation import Evaluation, evaluate
from model_loader.drafting.session import Output
from model_loader.drafting.tables import make_table
from model_loader.errors import DraftError

ROWS = 8
CLASS = np.arange(ROWS) % 3
WORD = np.array(["b", "c", "d"], object)[CLASS]
SHARES = np.full((ROWS, 3), 0.1, np.float32) + 0.7 * np.eye(3, dtype=np.float32)[CLASS]
NUMBER = np.linspace(0.05, 2, ROWS).astype(np.float32)


def evaluated(
    outputs: dict[str, Output], truth: Sequence[Any] | NDArray[Any], classes: Sequence[Any] | None = None
) -> Evaluation:
    """Evaluate outputs on the target `t`."""
    array = np.asarray(truth)
    array = array.astype(object) if array.dtype.kind == "U" else array
    return evaluate(outputs, make_table("data", {"t": array}), "t", classes)


@pytest.mark.parametrize(
    ("outputs", "truth", "output", "classes", "metrics"),
    [
        (
            {"y": CLASS, "p": SHARES},
            CLASS,
            "y",
            (0, 1, 2),
            {"accuracy", "macro_f1", "log_loss", "calibration_error"},
        ),
        (
            {"y": WORD, "p": SHARES},
            WORD,
            "y",
            ("b", "c", "d"),
            {"accuracy", "macro_f1", "log_loss", "calibration_error"},
        ),
        ({"y": WORD}, WORD, "y", ("b", "c", "d"), {"accuracy", "macro_f1"}),
        (
            {"p": SHARES},
            WORD,
            "p",
            ("b", "c", "d"),
            {"accuracy", "macro_f1", "log_loss", "calibration_error"},
        ),
        ({"p": SHARES * 9}, CLASS, "p", (0, 1, 2), {"accuracy", "macro_f1"}),
        (
            {"p": NUMBER / 2},
            CLASS > 0,
            "p",
            (0, 1),
            {"accuracy", "macro_f1", "log_loss", "calibration_error"},
        ),
        ({"n": NUMBER.reshape(-1, 1)}, NUMBER, "n", (), {"mae", "rmse", "r2"}),
        ({"t_n": NUMBER, "else": NUMBER}, NUMBER, "t_n", (), {"mae", "rmse", "r2"}),
        ({"y": CLASS, "p": SHARES, "n": NUMBER}, NUMBER, "n", (), {"mae", "rmse", "r2"}),
    ],
)
def test_outputs(
    outputs: dict[str, Output],
    truth: NDArray[Any],
    output: str,
    classes: tuple[Any, ...],
    metrics: set[str],
) -> None:
    """The outputs that the target can be the truth of are found by their types and values."""
    found = evaluated(outputs, truth)
    assert found.task.output == output
    assert found.classes == classes
    assert found.metrics is not None
    assert found.metrics.keys() == metrics
    assert found.metrics.get("accuracy", 1) == 1 or output == "p"
    assert found.metrics.get("mae", 0) == 0


def test_zipmap() -> None:
    """The keys of a ZipMap are the classes, in its order."""
    zipmap: Output = [dict(zip(["d", "b", "c"], row[[2, 0, 1]].tolist(), strict=True)) for row in SHARES]
    found = evaluated({"y": WORD, "p": zipmap}, WORD)
    assert found.classes == ("d", "b", "c")
    assert found.metrics is not None
    assert found.metrics["log_loss"] == pytest.approx(-np.log(0.8), rel=1e-6)


def test_order_of_classes() -> None:
    """Given classes are used in their order; an order that contradicts the labels is not."""
    shares = SHARES[:, [2, 0, 1]]
    assert evaluated({"y": WORD, "p": shares}, WORD, ["d", "b", "c"]).classes == ("d", "b", "c")
    found = evaluated({"y": WORD, "p": shares}, WORD)
    assert found.classes == ()
    assert found.notes == ("the labels of the columns of 'p' are not known: no log loss",)


def test_label_that_is_missing_in_the_data() -> None:
    """A class that is in no row has its probability, if the labels are indices."""
    found = evaluated({"y": CLASS[:2], "p": SHARES[:2]}, CLASS[:2])
    assert found.classes == (0, 1, 2)


def test_missing_truth() -> None:
    """Rows without a target are not evaluated."""
    truth = NUMBER.astype(float)
    truth[:3] = np.nan
    predicted = NUMBER.copy()
    predicted[:3] = 100
    found = evaluated({"n": predicted}, truth)
    assert found.metrics is not None
    assert found.metrics["mae"] == pytest.approx(0)


def test_predictions_that_are_not_finite() -> None:
    """A number that is not finite has no error: there are no metrics, and a note says why."""
    predicted = NUMBER.copy()
    predicted[2] = np.nan
    found = evaluated({"n": predicted}, NUMBER)
    assert found.metrics is None
    assert found.notes == ("no metrics: 1 predictions of 'n' are not finite",)


def test_missing_truth_in_writing() -> None:
    """A text such as NA in the numbers of CSV is a missing target."""
    truth = np.array([*map(str, NUMBER[:-1]), "NA"], object)
    found = evaluate({"n": NUMBER}, make_table("data", {"t": truth}, is_text=True), "t", None)
    assert found.metrics is not None
    assert found.metrics["mae"] == pytest.approx(0, abs=1e-6)


def test_missing_label_in_writing() -> None:
    """A text such as NA among integers of CSV is a missing label, not a name of one."""
    truth = np.array([*map(str, CLASS[:-1]), "N/A"], object)
    found = evaluate({"y": CLASS, "p": SHARES}, make_table("data", {"t": truth}, is_text=True), "t", None)
    assert found.classes == (0, 1, 2)
    assert found.names == ()
    assert found.metrics is not None
    assert found.metrics["accuracy"] == 1


def test_several_targets() -> None:
    """Several numbers in a row are evaluated on as many, by the means of the metrics."""
    truth = np.stack([NUMBER, 2 * NUMBER], axis=1)
    found = evaluated({"n": truth + np.array([0, 1], np.float32)}, truth)
    assert found.metrics is not None
    assert found.metrics["mae"] == pytest.approx(0.5, rel=1e-6)
    assert found.task.output is None


@pytest.mark.parametrize(
    ("outputs", "truth", "message"),
    [
        ({"y": CLASS}, ["b", "c", "d", "e"] * 2, None),
        ({"y": CLASS > 0}, ["b", "c"] * 4, r"column 't', row 1: expected true or false, got 'b'"),
        ({"y": CLASS + 5}, ["b", "c"] * 4, r"the target has 2 names, and the model's labels are 5 to 7"),
        ({"n": NUMBER}, ["b", "c"] * 4, r"column 't', row 1: expected a number, .*got 'b'"),
        ({"y": CLASS}, [None] * 8, r"target 't' has only missing values"),
        (
            {"y": CLASS, "p": SHARES},
            [5, 6, 7, 5] * 2,
            r"none of the labels that the model answers: expected 0, 1, 2, got 5, 6, 7",
        ),
        (
            {"y": CLASS, "p": SHARES},
            ["b", "c", "d", "e"] * 2,
            r"the target has 4 names, and the model has 3 classes: b, c, d, e",
        ),
    ],
)
def test_other_labels(outputs: dict[str, Output], truth: list[Any], message: str | None) -> None:
    """Names are the indices of the model's labels; labels that the model cannot have are refused."""
    if message is None:
        assert evaluated(outputs, np.array(truth, object)).notes[0].startswith("the target's names are taken")
        return
    with pytest.raises(DraftError, match=message):
        evaluated(outputs, np.array(truth, object))


def test_unclear_output() -> None:
    """Without an output that is clearly the prediction, there are no metrics, and a note says so."""
    found = evaluated({"one": NUMBER, "six": NUMBER}, NUMBER)
    assert found.metrics is None
    assert found.notes == ("no metrics: none of one, six is clearly the prediction of 't'",)


def test_unknown_target() -> None:
    """A target that is not a column is refused with the columns."""
    table = make_table("data", {"a": NUMBER})
    with pytest.raises(DraftError, match="data has no column 't' for the target; it has a"):
        evaluate({"n": NUMBER}, table, "t", None)
