"""The inputs of a model, made from the columns of a table."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.casts import cast, missing_count
from model_loader.drafting.columns import Match, find, match
from model_loader.drafting.tables import Table
from model_loader.errors import DraftError
from model_loader.package import TensorSpec

Array = NDArray[Any]
# What pandas writes as the index of a DataFrame: in CSV, after it was read again, and in Parquet.
INDEX = re.compile(r"|Unnamed: 0|__index_level_\d+__")


@dataclass(frozen=True)
class Inputs:
    """The inputs of a model for all rows.

    Attributes:
        arrays: name of the input → array in its dtype, shape (rows, …).
        features: names of the columns of the only input; None if the names of the inputs are enough.
        fields: name of a feature, or of an input if there are no features → its values; views of `arrays`.
        missing: name of the field → share of missing values.
        notes: what was assumed or changed, a sentence each.
    """

    arrays: Mapping[str, Array]
    features: tuple[str, ...] | None
    fields: Mapping[str, Array]
    missing: Mapping[str, float]
    notes: tuple[str, ...]


def make_inputs(
    specs: Sequence[TensorSpec], table: Table, others: Sequence[str], features: Sequence[str] | None
) -> Inputs:
    """Match the columns to the inputs by name, and convert them to their datatypes and shapes.

    Args:
        specs: the inputs that a request must have.
        others: columns that are not inputs, as the target.
        features: the model's names of the columns of its only input; None if they are not known.

    Raises:
        DraftError: columns are missing, or a value or shape does not fit.
    """
    columns = [column for column in table.columns if column not in others]
    wide = _wide_input(specs, table, columns, features)
    if wide is None:
        found, notes = _match_inputs(specs, columns)
        values = {name: _cast(table, column, _spec(specs, name)) for name, column in found.columns.items()}
        arrays = {name: _shaped(array, _spec(specs, name)) for name, array in values.items()}
        named, fields = None, arrays
    else:
        found, notes = _match_features(wide, columns, features, others)
        named = tuple(found.columns)
        values = {name: _cast(table, column, wide) for name, column in found.columns.items()}
        array = np.stack(list(values.values()), axis=1)
        arrays = {wide.name: array}
        fields = {name: array[:, index] for index, name in enumerate(named)}
    missing = {
        name: missing_count(table.columns[found.columns[name]] if array.dtype.kind == "O" else array)
        / array.size
        for name, array in fields.items()
    }
    return Inputs(arrays, named, fields, missing, (*notes, *_notes(found, fields, missing)))


def _wide_input(
    specs: Sequence[TensorSpec], table: Table, columns: Sequence[str], features: Sequence[str] | None
) -> TensorSpec | None:
    """Return the only input, [batch, columns], if it takes several columns of the data; otherwise None."""
    if len(specs) != 1 or specs[0].shape is None or len(specs[0].shape) != 2:
        return None
    if features is not None:
        return specs[0]
    named = find(specs[0].name, columns)
    flat = [column for column in columns if table.columns[column].ndim == 1]
    return None if named or len(flat) != len(columns) else specs[0]


def _match_features(
    spec: TensorSpec, columns: Sequence[str], features: Sequence[str] | None, others: Sequence[str]
) -> tuple[Match, tuple[str, ...]]:
    width = spec.shape[1] if spec.shape else None
    names = columns if features is None else features
    index = [name for name in columns if INDEX.fullmatch(name)] if features is None else []
    if index:
        raise DraftError(
            f"the data has the column '{index[0]}', which is the index of a DataFrame: write it with "
            "index=False, or name the model's columns with --features"
        )
    if isinstance(width, int) and width != len(names):
        listed = ", ".join(f"'{name}'" for name in names)
        label = "" if others else "the label with --target, and "
        advice = "" if features else f"; name {label}the model's columns with --features"
        raise DraftError(
            f"input '{spec.name}' has {width} columns, and there are {len(names)} "
            f"{'features' if features else 'columns in the data'}: {listed:.1000}{advice}"
        )
    if features is not None:
        return match(features, columns, "feature"), ()
    note = f"the model does not name its columns: input '{spec.name}' takes those of the data in their order"
    return match(names, columns, "feature"), (note,) if len(names) > 1 else ()


def _match_inputs(specs: Sequence[TensorSpec], columns: Sequence[str]) -> tuple[Match, tuple[str, ...]]:
    if len(specs) == 1 and len(columns) == 1 and not find(specs[0].name, columns):
        return Match({specs[0].name: columns[0]}, ()), ()
    return match([spec.name for spec in specs], columns, "input"), ()


def _spec(specs: Sequence[TensorSpec], name: str) -> TensorSpec:
    return next(spec for spec in specs if spec.name == name)


def _cast(table: Table, column: str, spec: TensorSpec) -> Array:
    values = table.columns[column]
    if values.dtype.kind == "O" and len(values) and isinstance(values[0], list | tuple | np.ndarray):
        try:
            values = np.array([np.asarray(value) for value in values])
        except ValueError as exc:
            raise DraftError(f"column '{column}': expected lists of the same length: {exc}") from exc
    return cast(column, values, spec.datatype, is_text=table.is_text)


def _shaped(array: Array, spec: TensorSpec) -> Array:
    """Return values in the shape of an input: one of [batch, 1] takes a value for each row."""
    if spec.shape is None:
        return array
    if array.ndim == 1 and len(spec.shape) == 2:
        array = array.reshape(-1, 1)
    fits = len(array.shape) == len(spec.shape) and all(
        not isinstance(size, int) or size == found
        for size, found in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        row = list(array.shape[1:])
        raise DraftError(
            f"input '{spec.name}' has the shape {list(spec.shape)}, and its column {row or 'one value'} in a "
            "row; arrays of several dimensions can be in an .npz file"
        )
    return array


def _notes(found: Match, fields: Mapping[str, Array], missing: Mapping[str, float]) -> list[str]:
    notes = [f"column '{column}' is '{name}' in the model" for column, name in found.renamed.items()]
    if found.ignored:
        notes.append(f"ignored columns: {', '.join(found.ignored)}")
    for name, share in missing.items():
        if share and fields[name].dtype.kind == "O":
            notes.append(f"'{name}' has {share:.1%} missing texts: they are empty texts in the samples")
    return notes
