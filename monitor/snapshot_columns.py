"""The columns of a snapshot, and the rules that its rows keep to, in SQL over the view `predictions`.

The columns are the features of the serving version, without those that its `schema.json` withholds. The rules
are those that the service counts, see `app/model/data_contract.py`: missing, type, below, above, category.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_loader.package.schema import FieldSchema
from model_loader.snapshot_files import KEY_COLUMNS
from monitor.database import identifier, json_pointer, quote
from monitor.errors import MonitorError
from monitor.targets import FLOATS, Target, VersionInfo

# Type in a schema → the type of the column.
SQL_TYPES: Mapping[str, str] = {
    "number": "DOUBLE",
    "integer": "BIGINT",
    "string": "VARCHAR",
    "boolean": "BOOLEAN",
    "json": "VARCHAR",
}
NUMBERS = "('DOUBLE', 'BIGINT', 'UBIGINT')"
# A limit is rounded as the values of the input are: 11.03 as FP32 must not lie below 11.03.
PRECISIONS: Mapping[str, Any] = {"FP16": np.float16, "FP32": np.float32, "BF16": np.float32}
# The same number is the same class, whatever its form: 1, 1.0 and, for booleans, true.
SAME_CLASS = (
    "CASE {0} WHEN 'true' THEN '1.0' WHEN 'false' THEN '0.0' "
    "ELSE coalesce(try_cast({0} AS DOUBLE)::VARCHAR, {0}) END"
)


@dataclass(frozen=True)
class Rule:
    """What a row violates, as in `snapshot.json`, and the SQL that says whether it does."""

    name: str
    violated: str


@dataclass(frozen=True)
class Column:
    """A column of a snapshot.

    Attributes:
        value: SQL of its value.
        type: of the column.
        rules: that its values must not violate.
    """

    name: str
    value: str
    type: str
    rules: tuple[Rule, ...] = ()

    @property
    def select(self) -> str:
        """SQL of the column, with its name."""
        return f"TRY_CAST({self.value} AS {self.type}) AS {identifier(self.name)}"


def feature_columns(info: VersionInfo) -> tuple[list[Column], list[str]]:
    """Return the columns of a version's features, and the names of those that the schema withholds.

    Raises:
        MonitorError: the store of models lacks the version, or a feature has the name of another column.
    """
    if info.manifest is None:
        raise MonitorError("the store of models lacks the version whose features the snapshot has")
    fields = info.schema.features if info.schema else {}
    withheld = [name for name, field in fields.items() if field.is_withheld]
    kept = [each for each in _inputs(info) if each[0] not in withheld]
    columns = [
        _feature(index, name, datatype, is_single, fields.get(name))
        for index, (name, datatype, is_single) in enumerate(kept, start=1)
    ]
    taken = set(KEY_COLUMNS)
    for column in columns:
        if column.name.casefold() in taken:
            raise MonitorError(
                f"feature '{column.name}' has the name of another column of the snapshot, in which case does "
                f"not matter; the others are {', '.join(KEY_COLUMNS)}, and the features"
            )
        taken.add(column.name.casefold())
    return columns, withheld


def extracted(features: Sequence[Column]) -> str:
    """Return the SQL of the lists `types` and `texts`: the JSON type and the text of each feature's value.

    Each row's JSON is parsed twice, not once for each feature and rule.
    """
    paths = f"[{', '.join(json_pointer(each.name) for each in features)}]::VARCHAR[]"
    return f"json_type(inputs, {paths}) AS types, json_extract_string(inputs, {paths}) AS texts"


def label_column(target: Target, datatype: str | None) -> Column:
    """Return the column `label`.

    Args:
        datatype: of the output that the label is the truth of, if it is known.
    """
    text = "value->>'$'"
    if target.is_number:
        return Column("label", text, "DOUBLE", (Rule("label: type", f"json_type(value) NOT IN {NUMBERS}"),))
    if not target.classes:
        known = {"STRING": "VARCHAR", "BOOL": "BOOLEAN"} | dict.fromkeys(FLOATS, "DOUBLE")
        kind = known.get(datatype or "STRING", "BIGINT")
        violated = f"TRY_CAST({text} AS {kind}) IS NULL"
        return Column("label", text, kind, (Rule("label: type", violated),))
    types = {type(each) for each in target.classes}
    kinds: dict[str, set[type]] = {"BIGINT": {int}, "BOOLEAN": {bool}, "DOUBLE": {int, float}}
    sql_type = next((name for name, kind in kinds.items() if types <= kind), "VARCHAR")
    whens = [
        f"WHEN {SAME_CLASS.format(quote(_text(each)))} THEN {quote(_text(each))}" for each in target.classes
    ]
    value = f"CASE {SAME_CLASS.format(f'({text})')} {' '.join(whens)} END"
    return Column("label", value, sql_type, (Rule("label: category", f"({value}) IS NULL"),))


def _inputs(info: VersionInfo) -> Iterator[tuple[str, str, bool]]:
    """Yield name, datatype, and whether it is one value a row, of each feature of a version."""
    manifest = info.manifest
    if manifest is None:
        return
    if manifest.transformed:
        kinds = {"number": "FP64", "integer": "INT64", "string": "STRING", "boolean": "BOOL"}
        for field in info.schema.features.values() if info.schema else ():
            yield field.name, kinds[field.type], True
    elif manifest.features:
        datatype = next(spec["datatype"] for spec in manifest.inputs if not spec.get("optional"))
        for name in manifest.features:
            yield name, datatype, True
    else:
        for spec in manifest.inputs:
            is_single = all(size == 1 for size in (spec["shape"] or ())[1:])
            yield spec["name"], spec["datatype"], is_single


def _feature(index: int, name: str, datatype: str, is_single: bool, field: FieldSchema | None) -> Column:
    """Return a feature's column.

    Args:
        index: of the feature in the lists `types` and `texts`, see `extracted`.
    """
    if not is_single:
        return Column(name, f"texts[{index}]", "VARCHAR")
    kind = field.type if field else _kind(datatype)
    type_, text = f"types[{index}]", f"texts[{index}]"
    rules = [Rule(f"{name}: type", f"{type_} <> 'NULL' AND NOT ({_fits(kind, type_, text)})")]
    if field:
        rules += _field_rules(field, type_, text, PRECISIONS.get(datatype, np.float64))
    # A boolean feature of a numeric input is 0 or 1.
    value = f"coalesce(TRY_CAST({text} AS BOOLEAN), TRY_CAST({text} AS DOUBLE) <> 0)"
    return Column(name, value if kind == "boolean" else text, SQL_TYPES[kind], tuple(rules))


def _fits(kind: str, type_: str, text: str) -> str:
    """Return the SQL that says whether a value is of the schema's type."""
    number = f"TRY_CAST({text} AS DOUBLE)"
    match kind:
        case "number":
            return f"{type_} IN {NUMBERS}"
        case "integer":
            return f"{type_} IN {NUMBERS} AND {number} = floor({number})"
        case "boolean":
            return f"{type_} = 'BOOLEAN' OR ({type_} IN {NUMBERS} AND {number} IN (0, 1))"
        case _:
            return f"{type_} = 'VARCHAR'"


def _field_rules(field: FieldSchema, type_: str, text: str, precision: Any) -> Iterator[Rule]:
    def limit(value: float) -> str:
        with np.errstate(over="ignore"):
            return f"'{float(precision(value))}'::{sql}"

    sql = "FLOAT" if precision is not np.float64 else "DOUBLE"
    number = f"TRY_CAST({text} AS {sql})"
    if field.max_missing == 0:
        yield Rule(f"{field.name}: missing", f"coalesce({type_}, 'NULL') = 'NULL'")
    if field.minimum is not None:
        yield Rule(f"{field.name}: below", f"{number} < {limit(field.minimum)}")
    if field.maximum is not None:
        yield Rule(f"{field.name}: above", f"{number} > {limit(field.maximum)}")
    if field.categories and field.type in ("number", "integer"):
        values = ", ".join(limit(each) for each in field.categories)
        yield Rule(f"{field.name}: category", f"{number} NOT IN ({values})")
    elif field.categories:
        same = SAME_CLASS if field.type == "boolean" else "{0}"
        values = ", ".join(same.format(quote(_text(each))) for each in field.categories)
        unknown = f"{same.format(f'({text})')} NOT IN ({values})"
        yield Rule(f"{field.name}: category", f"{type_} <> 'NULL' AND {unknown}")


def _kind(datatype: str) -> str:
    if datatype in FLOATS:
        return "number"
    return {"STRING": "string", "BOOL": "boolean"}.get(datatype, "integer" if "INT" in datatype else "json")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
