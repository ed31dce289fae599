"""Checks of the data before a model is fitted, by `schema.json` and by what would make an evaluation wrong.

| check | it fails if |
|---|---|
| column | a feature is not in the data |
| type | values are not of the schema's type |
| missing | more values are missing than `max_missing` |
| below, above | a value is less than `min`, or greater than `max` |
| category | a value is not one of `categories`; a label not one of `classes` |
| freshness | the newest row is too old |
| leakage | a feature predicts the label alone, almost without error |
| repeated | too many rows for training have the features of a row that is held out |
| rows | too few rows are held out |
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from model_loader.package.schema import FieldSchema, Schema
from training.errors import DataError
from training.snapshots import Columns

LABEL = "label"
MAX_AGE = timedelta(days=30)
# Balanced accuracy of a feature alone. 1.0 is a feature that equals the label, by another name.
MAX_ALONE = 0.99
MAX_REPEATED = 0.5
MIN_HELD_OUT = 30
# Type in a schema → the Python types of values that NumPy has as objects; numbers otherwise.
TYPES: Mapping[str, tuple[type, ...]] = {"string": (str,), "boolean": (bool, np.bool_)}
FOLDS, LEAVES, LEAKAGE_ROWS, SEED = 5, 16, 10_000, 1


@dataclass(frozen=True)
class Check:
    """The result of a check of one column, or of all rows.

    Attributes:
        source: which rows, such as `sample`.
        column: empty: all.
    """

    check: str
    source: str
    column: str
    expected: str
    got: str
    passed: bool

    def __str__(self) -> str:
        column = f"column '{self.column}' of " if self.column else ""
        return f"{self.check}: {column}{self.source}: expected {self.expected}, got {self.got}"


def check_columns(source: str, columns: Columns, schema: Schema) -> list[Check]:
    """Check the features and the label of some rows by the schema."""
    fields = [*schema.features.values()]
    if feedback := schema.feedback.get(LABEL):
        kind = "number" if feedback.type == "number" else _kind_of(feedback.classes)
        fields.append(FieldSchema(LABEL, kind, categories=feedback.classes, max_missing=0))
    return [check for field in fields for check in _check_column(source, columns, field)]


def check_freshness(source: str, newest: datetime, now: datetime, max_age: timedelta = MAX_AGE) -> Check:
    """Check that the newest row is not too old."""
    expected = f"a row newer than {max_age.days} days"
    text = f"{newest.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return Check("freshness", source, "time", expected, text, now - newest <= max_age)


def check_leakage(source: str, features: Sequence[str], x: NDArray[Any], y: NDArray[Any]) -> list[Check]:
    """Check that no feature tells the label.

    Args:
        x: shape (rows, features).
        y: shape (rows,).
    """
    chosen = np.random.default_rng(SEED).permutation(len(y))[:LEAKAGE_ROWS]
    x, y = x[chosen], y[chosen]
    folds = min(FOLDS, int(np.unique(y, return_counts=True)[1].min())) if len(y) else 0
    expected = f"a balanced accuracy below {MAX_ALONE} of this feature alone"
    checks = []
    for index, name in enumerate(features):
        column = x[:, index]
        if np.array_equal(column.astype(np.float64), y.astype(np.float64)):
            checks.append(
                Check("leakage", source, name, "a feature that is not the label", "the label", False)
            )
        elif folds < 2:
            checks.append(Check("leakage", source, name, expected, "too few rows of a class", True))
        else:
            tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, random_state=SEED)
            split = StratifiedKFold(folds, shuffle=True, random_state=SEED)
            found = cross_val_predict(tree, np.nan_to_num(column).reshape(-1, 1), y, cv=split)
            alone = float(balanced_accuracy_score(y, found))
            checks.append(Check("leakage", source, name, expected, f"{alone:.4g}", alone < MAX_ALONE))
    return checks


def check_repeated(source: str, repeated: int, rows: int) -> Check:
    """Check that few rows for training repeat held-out rows.

    Args:
        repeated: rows that were left out because they did.
        rows: with these.
    """
    share = repeated / rows if rows else 0.0
    expected = f"at most {MAX_REPEATED:.0%} of the rows to have the features of a held-out row"
    return Check("repeated", source, "", expected, f"{repeated} of {rows}", share <= MAX_REPEATED)


def check_rows(source: str, rows: int) -> Check:
    """Check that enough rows are held out to evaluate a model."""
    return Check("rows", source, "", f"{MIN_HELD_OUT} rows or more", str(rows), rows >= MIN_HELD_OUT)


def refuse_failed(checks: Sequence[Check]) -> None:
    """Refuse data that did not pass.

    Raises:
        DataError: with the first checks that failed, and the number of all.
    """
    if failed := [check for check in checks if not check.passed]:
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise DataError(f"the data was refused: {'; '.join(map(str, failed[:3]))}{more}")


def _check_column(source: str, columns: Columns, field: FieldSchema) -> Iterator[Check]:
    def result(check: str, expected: str, got: str, passed: bool) -> Check:
        return Check(check, source, field.name, expected, got, passed)

    if field.name not in columns:
        yield result("column", "a column", "none", False)
        return
    values = columns[field.name]
    missing = _missing(values)
    known = values[~missing]
    if field.max_missing is not None:
        share = float(missing.mean()) if len(values) else 0.0
        got = f"{share:.4g} ({int(missing.sum())} of {len(values)} rows)"
        yield result("missing", f"a share of at most {field.max_missing:g}", got, share <= field.max_missing)
    fits = _fits(field.type, known)
    got = field.type if fits.all() else _preview(known[~fits], len(values))
    yield result("type", field.type, got, bool(fits.all()))
    if not fits.all():
        return
    if field.minimum is not None and len(known):
        below = _rounded(known) < _rounded(np.array(field.minimum))
        got = _preview(known[below], len(values)) if below.any() else f"{known.min():g}"
        yield result("below", f"at least {field.minimum:g}", got, not below.any())
    if field.maximum is not None and len(known):
        above = _rounded(known) > _rounded(np.array(field.maximum))
        got = _preview(known[above], len(values)) if above.any() else f"{known.max():g}"
        yield result("above", f"at most {field.maximum:g}", got, not above.any())
    if field.categories:
        unknown = ~np.isin(known, np.array(field.categories))
        expected = f"one of {', '.join(map(str, field.categories[:10]))}"
        got = _preview(known[unknown], len(values)) if unknown.any() else "no other"
        yield result("category", expected, got, not unknown.any())


def _rounded(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers as the model gets them, in FP32: 11.03 must not lie below 11.03."""
    return values.astype(np.float32).astype(np.float64)


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype.kind == "f":
        return np.array(np.isnan(values))
    if values.dtype.kind == "O":
        return np.array([value is None or value != value for value in values], np.bool_)
    return np.zeros(values.shape, np.bool_)


def _fits(kind: str, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are of the schema's type."""
    if values.dtype.kind == "O":
        types = TYPES.get(kind, (int, float))
        return np.array([isinstance(value, types) for value in values], np.bool_)
    if values.dtype.kind not in "bfiu" or kind == "string":
        return np.full(values.shape, values.dtype.kind in "UT" and kind == "string")
    if kind == "boolean":
        return np.isin(values, (0, 1))
    return np.array(values == np.floor(values) if kind == "integer" else np.isfinite(values))


def _kind_of(classes: Sequence[Any]) -> str:
    kinds: dict[type, str] = {bool: "boolean", int: "integer", float: "number"}
    return kinds.get(type(classes[0]), "string") if classes else "integer"


def _preview(values: NDArray[Any], rows: int) -> str:
    """Return some of the wrong values, and in how many rows they are."""
    texts = [str(value)[:40] for value in values[:3].tolist()]
    return f"{', '.join(texts)}{', …' if len(values) > 3 else ''} in {len(values)} of {rows} rows"
