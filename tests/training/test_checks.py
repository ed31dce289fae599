"""Data is checked before a model is fitted: a refusal names the column, expected and got."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from model_loader.package.schema import Schema, parse_schema
from training.checks import (
    check_columns,
    check_freshness,
    check_leakage,
    check_repeated,
    check_rows,
    refuse_failed,
)
from training.errors import DataError

ROWS = 100
SCHEMA: dict[str, Any] = {
    "features": {
        "alcohol": {"type": "number", "min": 11.03, "max": 14.83, "max_missing": 0.05},
        "bottles": {"type": "integer", "categories": [1, 6, 12]},
        "color": {"type": "string", "categories": ["red", "white"]},
        "is_dry": {"type": "boolean"},
    },
    "feedback": {"label": {"type": "label", "classes": [0, 1, 2]}},
}
Columns = dict[str, Any]


@pytest.fixture
def schema() -> Schema:
    """A schema of every type."""
    return parse_schema(SCHEMA)


@pytest.fixture
def columns() -> Columns:
    """Rows that fit the schema; the largest alcohol is the limit as FP32."""
    return {
        "alcohol": np.linspace(11.03, 14.83, ROWS),
        "bottles": np.full(ROWS, 6),
        "color": np.array(["red", "white"] * (ROWS // 2), object),
        "is_dry": np.array([True, False] * (ROWS // 2)),
        "label": np.arange(ROWS) % 3,
    }


def test_passes(schema: Schema, columns: Columns) -> None:
    """Rows that fit the schema pass; a value may be missing where the schema allows it."""
    columns["alcohol"][:5] = np.nan
    columns["bottles"] = np.array([None, *[6] * (ROWS - 1)], object)
    checks = check_columns("train", columns, schema)
    refuse_failed(checks)
    assert {check.column for check in checks} == {*columns}


def replaced(name: str, value: Any) -> Callable[[Columns], None]:
    """Return what replaces a column's first value."""

    def change(columns: Columns) -> None:
        columns[name] = columns[name].astype(object)
        columns[name][0] = value
        if name == "alcohol" and not isinstance(value, str):
            columns[name] = columns[name].astype(float)

    return change


@pytest.mark.parametrize(
    ("change", "check", "column", "message"),
    [
        (replaced("alcohol", 99.5), "above", "alcohol", "at most 14.83, got 99.5 in 1 of 100 rows"),
        (replaced("alcohol", -1.0), "below", "alcohol", "at least 11.03, got -1.0 in 1 of 100 rows"),
        (replaced("alcohol", "13"), "type", "alcohol", "number, got 13 in 1 of 100 rows"),
        (replaced("alcohol", np.inf), "type", "alcohol", "number, got inf in 1 of 100 rows"),
        (replaced("bottles", 7), "category", "bottles", "one of 1, 6, 12, got 7 in 1 of 100 rows"),
        (replaced("color", "blue"), "category", "color", "one of red, white, got blue in 1 of 100 rows"),
        (replaced("color", 1), "type", "color", "string, got 1 in 1 of 100 rows"),
        (replaced("is_dry", "yes"), "type", "is_dry", "boolean, got yes in 1 of 100 rows"),
        (replaced("label", 3), "category", "label", "one of 0, 1, 2, got 3 in 1 of 100 rows"),
        (replaced("label", None), "missing", "label", "a share of at most 0, got 0.01 (1 of 100 rows)"),
        (lambda columns: columns["alcohol"].put(range(6), np.nan), "missing", "alcohol",
         "a share of at most 0.05, got 0.06 (6 of 100 rows)"),
        (lambda columns: columns.pop("color"), "column", "color", "a column, got none"),
    ],
)  # fmt: skip
def test_refusals(
    schema: Schema,
    columns: Columns,
    change: Callable[[Columns], None],
    check: str,
    column: str,
    message: str,
) -> None:
    """What the schema does not allow is refused."""
    change(columns)
    with pytest.raises(DataError) as refusal:
        refuse_failed(check_columns("train", columns, schema))
    expected = f"the data was refused: {check}: column '{column}' of train: expected {message}"
    assert str(refusal.value) == expected


def test_leakage() -> None:
    """A feature that is the label, or tells it almost without error, is refused; a good one is not."""
    random = np.random.default_rng(1)
    y = random.integers(0, 3, 600)
    good = y + random.normal(0, 0.5, 600)
    almost = np.where(random.random(600) < 0.002, 0, y) * 10 + random.random(600)
    x = np.column_stack([good, almost, y, random.random(600)])
    checks = check_leakage("train", ("good", "almost", "same", "noise"), x, y)
    assert [check.passed for check in checks] == [True, False, False, True]
    with pytest.raises(DataError, match=r"leakage: column 'almost' .* got 0\.99.*'same'.* got the label"):
        refuse_failed(checks)


def test_leakage_of_rare_classes() -> None:
    """A feature without information is none, however rare a class is; one row of a class judges nothing."""
    y = np.array([0] * 995 + [1] * 5)
    x = np.random.default_rng(1).random((1000, 1))
    assert check_leakage("train", ("noise",), x, y)[0].passed
    (check,) = check_leakage("train", ("noise",), x, np.array([0] * 999 + [1]))
    assert (check.passed, check.got) == (True, "too few rows of a class")


def test_freshness() -> None:
    """Old rows are refused."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert check_freshness("the snapshots", now - timedelta(days=30), now).passed
    with pytest.raises(DataError, match="expected a row newer than 30 days, got 2026-01-29T00:00:00Z"):
        refuse_failed([check_freshness("the snapshots", now - timedelta(days=31), now)])


def test_rows() -> None:
    """Few held-out rows, and many that repeat them, are refused; the message has three refusals."""
    failed = [check_rows("held-out rows", 29), check_repeated("train", 51, 100)] * 2
    with pytest.raises(
        DataError, match=r"expected 30 rows or more, got 29; .* got 51 of 100; .*; and 1 more$"
    ):
        refuse_failed(failed)
    assert check_rows("held-out rows", 30).passed
    assert check_repeated("train", 50, 100).passed
