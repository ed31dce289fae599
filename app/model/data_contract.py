"""Requests compared with `schema.json`, the data contract of a model package.

A value violates one of these rules of its feature:

    missing    it is NaN; refused only if `max_missing` is 0
    type       it is not whole although the type is integer, or neither 0 nor 1 although it is boolean
    below      it is less than `min`
    above      it is greater than `max`
    category   it is not one of `categories`
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest
from app.model.columns import Columns
from app.model.served_model import ServedModel
from app.tensors.datatypes import Array
from app.tensors.io_spec import preview
from model_loader.package.schema import FieldSchema, Schema

RULES = ("missing", "type", "below", "above", "category")

# Shape (values, columns), as the values that are compared.
Mask: TypeAlias = NDArray[np.bool_]


class Violation(NamedTuple):
    """A value that violates a rule of its feature."""

    feature: str
    rule: str


class DataContract:
    """The rules of a schema, for the arrays of requests.

    Attributes:
        features: those that have rules.
    """

    def __init__(self, schema: Schema, model: ServedModel) -> None:
        self.features = schema.features
        self._columns = Columns(model)
        names = self._columns.names
        # A column without a schema is a number without limits.
        table = [schema.features.get(name, FieldSchema(name, "number")) for name in names]
        self._table = _Limits(table) if names else None
        self._limits = {
            name: _Limits([schema.features[name]]) for name in model.inputs if name in schema.features
        }

    def count(self, requests: Sequence[Mapping[str, Any]]) -> Counter[Violation]:
        """Return how many values violate which rule.

        Args:
            requests: inputs of each, name → array, list or dict.
        """
        counts: Counter[Violation] = Counter()
        for limits, values in self._values(requests):
            for rule, violated in limits.masks(values):
                for column in np.flatnonzero(violated.any(axis=0)).tolist():
                    counts[Violation(limits.names[column], rule)] += int(violated[:, column].sum())
        return counts

    def check(self, inputs: Mapping[str, Any]) -> None:
        """Check all values of a request.

        Raises:
            InvalidRequest: a value violates a rule; the message names the feature, the rule and the row.
        """
        for limits, values in self._values([inputs]):
            for rule, violated in limits.masks(values):
                if rule == "missing":
                    violated = violated & limits.required
                for row, column in np.argwhere(violated)[:1].tolist():
                    field, value = limits.fields[column], values[row, column]
                    got = preview(value) if isinstance(value, str) else str(value)
                    raise InvalidRequest(
                        f"feature '{field.name}': expected {_expected(field, rule)}, got {got} in row {row}",
                        name=field.name,
                        rule=rule,
                    )

    def _values(self, requests: Sequence[Mapping[str, Any]]) -> Iterator[tuple["_Limits", Array]]:
        """Yield limits, and the values that they are for: shape (values, columns)."""
        if self._table:
            name = self._columns.wide
            tables = [each[name] for each in requests if self._columns.is_table(name, each.get(name))]
            if tables:
                yield self._table, tables[0] if len(tables) == 1 else np.concatenate(tables)
        for name, limits in self._limits.items():
            arrays = [
                value.reshape(-1, 1) for each in requests if isinstance(value := each.get(name), np.ndarray)
            ]
            if arrays:
                yield limits, arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


class _Limits:
    """What the columns of an array may be.

    Attributes:
        fields: of each column.
        names: of each column.
        required: of each column, whether no value may be missing.
    """

    def __init__(self, fields: Sequence[FieldSchema]) -> None:
        self.fields = known = fields
        self.names = [field.name for field in fields]
        self.required = np.array([field.max_missing == 0 for field in fields])
        self._minimum = np.array([-np.inf if f.minimum is None else f.minimum for f in known])
        self._maximum = np.array([np.inf if f.maximum is None else f.maximum for f in known])
        self._has_limits = bool(np.isfinite(self._minimum).any() or np.isfinite(self._maximum).any())
        self._whole = [index for index, f in enumerate(known) if f.type == "integer"]
        self._boolean = [index for index, f in enumerate(known) if f.type == "boolean"]
        self._categories = {index: frozenset(f.categories) for index, f in enumerate(known) if f.categories}

    def masks(self, values: Array) -> Iterator[tuple[str, Mask]]:
        """Yield each rule and where it is violated.

        Args:
            values: shape (values, columns).
        """
        if values.dtype.kind == "V":  # a type of ml_dtypes
            values = values.astype(np.float32)
        is_float = values.dtype.kind == "f"
        missing: Mask = np.isnan(values) if is_float else np.zeros(values.shape, np.bool_)
        if is_float:
            yield "missing", missing
        if values.dtype.kind not in "bO":
            yield from self._numeric_masks(values, missing)
        for column, categories in self._categories.items():
            violated = np.zeros(values.shape, np.bool_)
            if values.dtype.kind == "O":
                known = np.array([value in categories for value in values[:, column].tolist()], np.bool_)
            else:
                known = np.isin(values[:, column], np.array(list(categories)).astype(values.dtype))
            violated[:, column] = ~known & ~missing[:, column]
            yield "category", violated

    def _numeric_masks(self, values: Array, missing: Mask) -> Iterator[tuple[str, Mask]]:
        violated = np.zeros(values.shape, np.bool_)
        for columns, allowed in ((self._whole, None), (self._boolean, (0, 1))):
            if columns and (allowed or values.dtype.kind not in "iu"):
                part = values[:, columns]
                fits = np.isin(part, allowed) if allowed else part == np.floor(part)
                violated[:, columns] = ~fits & ~missing[:, columns]
                yield "type", violated
                violated = np.zeros(values.shape, np.bool_)
        if self._has_limits:
            # A limit is rounded as the values are: 11.03 as FP32 must not lie below 11.03.
            dtype = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
            with np.errstate(over="ignore"):
                yield "below", np.asarray(values < self._minimum.astype(dtype))
                yield "above", np.asarray(values > self._maximum.astype(dtype))


def _expected(field: FieldSchema, rule: str) -> str:
    match rule:
        case "missing":
            return "a value"
        case "type":
            return "a whole number" if field.type == "integer" else "0 or 1"
        case "below":
            return f"at least {field.minimum:g}"
        case "above":
            return f"at most {field.maximum:g}"
        case _:
            names = ", ".join(preview(value) for value in field.categories[:5])
            return f"one of {names}{', …' if len(field.categories) > 5 else ''}"
