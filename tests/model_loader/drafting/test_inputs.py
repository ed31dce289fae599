"""Inputs of a model from the columns of a table: names, types and shapes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from model_loader.drafting.casts import cast
from model_loader.drafting.inputs import make_inputs
from model_loader.drafting.tables import make_table
from model_loader.errors import DraftError
from model_loader.package import TensorSpec

COLUMNS = (TensorSpec("age", "INT64", ("n", 1)), TensorSpec("job_title", "STRING", ("n", 1)))
MATRIX = (TensorSpec("x", "FP32", (None, 2)),)
IMAGE = (TensorSpec("image", "FP32", ("n", 2, 2)),)


@pytest.mark.parametrize(
    ("specs", "columns", "features", "message"),
    [
        (COLUMNS, {"age": [1]}, None, r"no column for the input 'job_title'; no column is left over"),
        (
            COLUMNS,
            {"Ages": [1], "job": ["a"]},
            None,
            r"no column for the input 'age' \(is it 'Ages'\?\); no column for the input 'job_title'; "
            r"columns that are left over: 'Ages', 'job'",
        ),
        (MATRIX, {"": [0], "a": [1], "b": [2]}, None, "has the column '', which is the index of a DataFrame"),
        (MATRIX, {"a": ["1,065.5"], "b": ["2"]}, None, "got '1,065.5'; .* no separators of thousands"),
        (
            COLUMNS,
            {"age": [1], "Job Title": ["a"], "job.title": ["b"]},
            None,
            r"'job_title' may be any of the columns",
        ),
        (
            COLUMNS,
            {"age": [1.5], "job_title": ["a"]},
            None,
            r"column 'age', row 1: expected an integer, .* got 1.5",
        ),
        (
            COLUMNS,
            {"age": [1.0, np.nan], "job_title": ["a", "b"]},
            None,
            r"'age', row 2: .* has no missing values",
        ),
        (
            COLUMNS,
            {"age": [2**63], "job_title": ["a"]},
            None,
            r"'age', row 1: expected an integer in the range",
        ),
        (COLUMNS, {"age": [1], "job_title": [1.5]}, None, r"'job_title', row 1: expected a text: save"),
        (
            MATRIX,
            {"a": [1.0]},
            None,
            r"input 'x' has 2 columns, and there are 1 columns in the data: 'a'; name the label",
        ),
        (
            MATRIX,
            {"a": [1.0], "b": [1.0], "c": [1.0]},
            None,
            r"there are 3 columns in the data: 'a', 'b', 'c'; .*--features",
        ),
        (MATRIX, {"a": [1.0], "b": [1.0]}, ["a"], r"input 'x' has 2 columns, and there are 1 features: 'a'"),
        (
            MATRIX,
            {"a": [1.0], "b": [1.0]},
            ["a", "d"],
            r"no column for the feature 'd'; columns that are left over: 'b'",
        ),
        (
            MATRIX,
            {"a": [1.0], "b": [1e40]},
            None,
            r"column 'b', row 1: expected a number in the range of FP32, got 1e\+40",
        ),
        (
            MATRIX,
            {"a": [1.0], "b": ["low"]},
            None,
            r"column 'b', row 1: expected a number, .*FP32, got 'low'",
        ),
        (
            IMAGE,
            {"image": [[1.0]]},
            None,
            r"input 'image' has the shape \['n', 2, 2\], and its column \[1\] in a row",
        ),
        (
            IMAGE,
            {"image": [1.0]},
            None,
            r"and its column one value in a row; arrays of several dimensions can be",
        ),
        ((TensorSpec("x", "BF16", ("n", 1)),), {"x": [1.0]}, None, r"column 'x' cannot be drafted as BF16"),
    ],
)
def test_unfit_columns(
    specs: Sequence[TensorSpec], columns: dict[str, Any], features: list[str] | None, message: str
) -> None:
    """Columns that do not fit the model are refused: each one by name, a value with its row."""
    arrays = {
        name: np.array(values, object if isinstance(values[0], str) else None)
        for name, values in columns.items()
    }
    with pytest.raises(DraftError, match=message):
        make_inputs(specs, make_table("data", arrays), [], features)


def test_two_names_for_a_column() -> None:
    """A column that fits two inputs is refused: it would silently be both."""
    specs = [TensorSpec("a b", "FP32", ("n",)), TensorSpec("a_b", "FP32", ("n",))]
    table = make_table("data", {"A B": np.array([1.0])})
    with pytest.raises(
        DraftError, match="the column 'A B' fits the inputs 'a b' and 'a_b': add a column for each"
    ):
        make_inputs(specs, table, [], None)


def test_renamed_columns() -> None:
    """Case, spaces and punctuation of names do not matter; a note names what is matched and what is not."""
    table = make_table(
        "data", {"AGE": np.array([1]), "job title": np.array(["a"], object), "id": np.array([7])}
    )
    inputs = make_inputs(COLUMNS, table, [], None)
    assert {name: array.shape for name, array in inputs.arrays.items()} == {
        "age": (1, 1),
        "job_title": (1, 1),
    }
    assert inputs.features is None
    assert inputs.notes == (
        "column 'AGE' is 'age' in the model",
        "column 'job title' is 'job_title' in the model",
        "ignored columns: id",
    )


def test_features() -> None:
    """Features select and order the columns of the only input."""
    table = make_table("data", {"a": np.array([1.0]), "b c": np.array([2.0]), "d": np.array([3.0])})
    inputs = make_inputs(MATRIX, table, [], ["d", "b_c"])
    assert inputs.arrays["x"].tolist() == [[3.0, 2.0]]
    assert inputs.features == ("d", "b_c")
    assert inputs.fields["b_c"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("texts", "datatype", "expected"),
    [
        (["1", " 2 ", None, "NA", "1e3"], "FP32", [1, 2, np.nan, np.nan, 1000]),
        (["9007199254740993", "-1"], "INT64", [9007199254740993, -1]),
        (["2.0", "3"], "INT32", [2, 3]),
        (["true", "False", "1", "0"], "BOOL", [True, False, True, False]),
        (["007", None, "x"], "STRING", ["007", "", "x"]),
    ],
)
def test_texts(texts: list[str | None], datatype: str, expected: list[Any]) -> None:
    """Texts of CSV are read as the model's type says, so that no type is guessed."""
    array = cast("a", np.array(texts, object), datatype, is_text=True)
    np.testing.assert_array_equal(array, np.array(expected, array.dtype))


@pytest.mark.parametrize(
    ("text", "datatype", "message"),
    [
        ("1,5", "FP32", r"expected a number, .*got '1,5'; write decimals with a point"),
        ("?", "INT64", r"column 'a', row 2: expected a number, because the model has INT64, got '\?'"),
        ("1.5", "INT64", r"expected an integer, because the model has INT64, got '1.5'"),
        ("300", "UINT8", r"expected an integer in the range of UINT8, got '300'"),
        ("9223372036854775808.0", "INT64", r"expected an integer in the range of INT64"),
        ("yes", "BOOL", r"expected true or false, got 'yes'"),
        ("1e39", "FP32", r"expected a number in the range of FP32, got '1e39'"),
    ],
)
def test_bad_texts(text: str, datatype: str, message: str) -> None:
    """A text that is not of the model's type is refused with its row."""
    with pytest.raises(DraftError, match=message):
        cast("a", np.array(["1", text], object), datatype, is_text=True)
