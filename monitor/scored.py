"""The table `scored`: each answered prediction with its truth, in the form that the measures are made of.

Columns: version, time, id, row, labelled, first_label, last_label, labels, different_labels; of a class:
truth and predicted (index of the class, -1 for one that is not declared), p (probability of each class),
confidence (the highest), top (its index), chosen (that of the predicted class), p_true, loss, brier, bin;
of a number: truth_value, value; and a column `slice_<name>` for each slice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.database import Connection, identifier, json_pointer, quote, rows, run
from monitor.errors import QueryError
from monitor.targets import Target

CALIBRATION_BINS = 15
MAX_CLASSES = 1000
EPSILON = float(np.finfo(np.float64).eps)
# The same number is the same class, whatever its form: 1, 1.0 and, for booleans, true.
CLASS_MACRO = """
CREATE OR REPLACE MACRO class_text(x) AS
CASE x WHEN 'true' THEN '1.0' WHEN 'false' THEN '0.0' ELSE coalesce(try_cast(x AS DOUBLE)::VARCHAR, x) END
"""


@dataclass(frozen=True)
class Scored:
    """What the table `scored` has.

    Attributes:
        classes: version → names of the classes, in the order of their indices; empty: a number.
        faults: version that is not in the table → why not.
    """

    classes: Mapping[int, tuple[str, ...]]
    faults: Mapping[int, str]


def create_scored(connection: Connection, targets: Mapping[int, Target], slices: Mapping[str, str]) -> Scored:
    """Create the table `scored` from the views.

    Args:
        targets: version → what its feedback is the truth of.
        slices: name → SQL expression over the columns of `predictions`.

    Raises:
        QueryError: a slice is no valid expression, or the data cannot be read.
    """
    run(connection, CLASS_MACRO)
    columns = ", ".join(f"NULL::VARCHAR AS {identifier(f'slice_{name}')}" for name in slices)
    run(
        connection,
        f"CREATE OR REPLACE TABLE scored AS {_empty()}{', ' + columns if columns else ''} WHERE false",
    )
    expressions = {name: f"CAST(({sql}) AS VARCHAR)" for name, sql in slices.items()}
    for name, expression in expressions.items():
        try:
            run(connection, f"SELECT {expression} FROM predictions LIMIT 0")
        except QueryError as exc:
            raise QueryError(f"monitor.toml: slices.{name}: {exc}") from exc
    classes, faults = {}, {}
    for version, target in targets.items():
        names = () if target.is_number else _class_names(connection, version, target)
        # Anybody who may report labels can report a thousand: the other versions are measured all the same.
        if len(names) > MAX_CLASSES and not target.classes:
            faults[version] = (
                f"the output '{target.output}' or its labels have more than {MAX_CLASSES} values: declare "
                "the classes in schema.json, or another target in monitor.toml"
            )
            continue
        classes[version] = names
        select = _number(target) if target.is_number else _class(target, names)
        more = "".join(f", {sql} AS {identifier(f'slice_{name}')}" for name, sql in expressions.items())
        run(
            connection,
            f"INSERT INTO scored BY NAME WITH source AS ("
            f" SELECT version, predictions.time, id, row, value IS NOT NULL AS labelled,"
            f" first_label, last_label, labels, different_labels, outputs, value->>'$' AS label_text{more}"
            f" FROM predictions LEFT JOIN (SELECT * FROM labels WHERE metric = {quote(target.metric)}) labels"
            f" USING (name, id, row) WHERE version = {version} AND coalesce(status, 200) = 200)"
            f"{select}",
        )
    return Scored(classes, faults)


def _empty() -> str:
    types = {
        "version": "BIGINT", "time": "TIMESTAMPTZ", "id": "VARCHAR", "row": "INTEGER", "labelled": "BOOLEAN",
        "first_label": "TIMESTAMPTZ", "last_label": "TIMESTAMPTZ", "labels": "BIGINT",
        "different_labels": "BIGINT", "truth": "SMALLINT", "predicted": "SMALLINT", "p": "DOUBLE[]",
        "confidence": "DOUBLE", "top": "SMALLINT", "chosen": "DOUBLE", "p_true": "DOUBLE", "loss": "DOUBLE",
        "brier": "DOUBLE", "bin": "TINYINT", "truth_value": "DOUBLE", "value": "DOUBLE",
    }  # fmt: skip
    return "SELECT " + ", ".join(f"NULL::{type_} AS {name}" for name, type_ in types.items())


def _path(output: str) -> str:
    return f"outputs->{json_pointer(output)}"


def _class_names(connection: Connection, version: int, target: Target) -> tuple[str, ...]:
    """Return the classes as texts: the declared ones, or those that predictions and labels have."""
    if target.classes:
        return tuple(_text(each) for each in target.classes)
    output = _path(target.output)
    sql = (
        f"SELECT DISTINCT class_text({output}->>'$') FROM predictions WHERE version = {version} "
        f"AND coalesce(status, 200) = 200 UNION SELECT DISTINCT class_text(value->>'$') FROM joined "
        f"WHERE version = {version} AND metric = {quote(target.metric)} LIMIT {MAX_CLASSES + 2}"
    )
    found = [text for (text,) in rows(connection, sql) if text is not None]
    return tuple(sorted(found, key=lambda text: (_as_number(text) is None, _as_number(text), text)))


def _class(target: Target, names: Sequence[str]) -> str:
    """Return the SQL that turns `source` into rows of classes."""
    literal = "[" + ", ".join(f"class_text({quote(name)})" for name in names) + "]::VARCHAR[]"
    # Names of classes belong to a model that answers their indices.
    named = bool(names) and all(_as_number(name) is None for name in names)

    def index(text: str) -> str:
        found = f"list_position({literal}, class_text({text})) - 1"
        if named:
            position = f"try_cast(try_cast({text} AS DOUBLE) AS SMALLINT)"
            found = f"coalesce({found}, CASE WHEN {position} < {len(names)} THEN {position} END)"
        return f"CASE WHEN {text} IS NULL THEN NULL ELSE coalesce({found}, -1) END::SMALLINT"

    probabilities = _probabilities(target, names)
    predicted = index(f"({_path(target.output)}->>'$')")
    if target.output == target.probabilities:
        predicted = "top"
    edges = "[" + ", ".join(repr(float(edge)) for edge in np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]) + "]"
    size = len(names)
    # Without probabilities every figure of them is NULL, which greatest(), least() and a lambda would ignore.
    half = 2 if size == 2 else 1
    return f"""
    , parsed AS (SELECT * EXCLUDE (label_text), {index("label_text")} AS truth,
          {probabilities} AS raw FROM source)
    , valid AS (SELECT * EXCLUDE (raw), CASE WHEN len(raw) = {size} AND NOT list_bool_or(
          list_transform(raw, lambda x: x IS NULL OR isnan(x))) THEN raw END AS p FROM parsed)
    , top AS (SELECT *, list_max(p) AS confidence,
          (list_position(p, list_max(p)) - 1)::SMALLINT AS top FROM valid)
    , chosen AS (SELECT * EXCLUDE (outputs), {predicted} AS predicted FROM top)
    SELECT *, p[predicted + 1] AS chosen,
      CASE WHEN p IS NULL OR truth IS NULL THEN NULL WHEN truth < 0 THEN 0 ELSE p[truth + 1] END AS p_true,
      CASE WHEN p_true IS NOT NULL THEN -ln(least(greatest(p_true, {EPSILON!r}), 1 - {EPSILON!r}))
      END AS loss,
      CASE WHEN p_true IS NOT NULL THEN (list_dot_product(p, p) - 2 * p_true + (truth >= 0)::INTEGER) / {half}
      END AS brier,
      CASE WHEN confidence IS NOT NULL THEN len(list_filter({edges}, lambda e: e < confidence))::TINYINT
      END AS bin
    FROM chosen"""


def _probabilities(target: Target, names: Sequence[str]) -> str:
    """Return the SQL of the probabilities of a row: a list, an object by class, or one of two."""
    if target.probabilities is None:
        return "NULL::DOUBLE[]"
    path = _path(target.probabilities)
    members = ", ".join(f"try_cast({path}->>{json_pointer(name)} AS DOUBLE)" for name in names)
    single = f"try_cast(coalesce({path}->>0, {path}->>'$') AS DOUBLE)"
    is_one = f"{single} IS NOT NULL AND coalesce(json_array_length({path}), 0) < 2"
    one_of_two = f"WHEN {is_one} THEN [1 - {single}, {single}] "
    return (
        f"CASE {one_of_two if len(names) == 2 else ''}"
        f"WHEN json_type({path}) = 'ARRAY' THEN try_cast({path} AS DOUBLE[]) "
        f"WHEN json_type({path}) = 'OBJECT' THEN [{members}]::DOUBLE[] END"
    )


def _number(target: Target) -> str:
    """Return the SQL that turns `source` into rows of numbers."""
    path = _path(target.output)
    return f"""
    SELECT * EXCLUDE (label_text, outputs),
      try_cast(label_text AS DOUBLE) AS truth_value,
      try_cast(coalesce({path}->>0, {path}->>'$') AS DOUBLE) AS value
    FROM source"""


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
