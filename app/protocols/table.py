"""Tables: named columns and rows of values, as DataFrames and CSV have them, to a model's inputs."""

import re
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np

from app.errors import InvalidRequest
from app.tensors.io_spec import describe, preview, single_input
from model_loader.package import TensorSpec

# Input → the position of its column; the positions of its columns, in order, if it has two dimensions.
Layout: TypeAlias = Mapping[str, int | Sequence[int]]

# In an error message.
MAX_NAMES = 20

# Exporters replace what an identifier may not have: `job title` becomes `job_title`.
_NOT_IN_IDENTIFIERS = re.compile(r"\W")


def layout(columns: Sequence[str], specs: Mapping[str, TensorSpec], features: Sequence[str] | None) -> Layout:
    """Return where the inputs are in a table.

    The columns of a model with `features` are these, in any order. Other models have an input a column, in
    any order; or one input of two dimensions, whose columns have no names, so that the table's order counts.

    Args:
        columns: the table's names.
        features: column names of the single two-dimensional input, if the model has them.

    Raises:
        InvalidRequest: a column is unknown, missing or given twice, or their number is wrong.
    """
    single = single_input(specs)
    if single and features and (list(columns) != [single.name] or single.name in features):
        return {single.name: _positions(columns, features, features)}
    names = input_names(columns, specs)
    if single and not features and single.shape and len(single.shape) == 2 and not {*names} <= specs.keys():
        if isinstance(single.shape[1], int) and len(columns) != single.shape[1]:
            raise InvalidRequest(
                f"expected {single.shape[1]} columns, in the order of input '{single.name}' "
                f"({describe(single)}), got {len(columns)}"
            )
        return {single.name: range(len(columns))}
    required = [name for name, spec in specs.items() if not spec.optional]
    given = [name for name in specs if name in required or name in names]
    return dict(zip(given, _positions(names, given, [*specs]), strict=True))


def input_names(columns: Sequence[str], specs: Mapping[str, TensorSpec]) -> Sequence[str]:
    """Return the input of each column: the one of its name, or of its name as exporters write it.

    A column without an input keeps its name.

    Raises:
        InvalidRequest: two columns are the same input.
    """
    names: dict[str, str] = {}
    for column in columns:
        identifier = column if column in specs else _NOT_IN_IDENTIFIERS.sub("_", column)
        name = identifier if identifier in specs else column
        if name in names:
            raise _double(names[name], column, name)
        names[name] = column
    return [*names]


def _double(column: str, other: str, name: str) -> InvalidRequest:
    if column == other:
        return InvalidRequest(f"column {preview(column)} is given twice")
    return InvalidRequest(f"columns {preview(column)} and {preview(other)} are both input '{name}'")


def _positions(columns: Sequence[str], required: Sequence[str], known: Sequence[str]) -> list[int]:
    """Return the positions of the required columns."""
    found: dict[str, int] = {}
    names = ", ".join(map(repr, known[:MAX_NAMES])) + (", …" if len(known) > MAX_NAMES else "")
    expected = f"expected the columns {names}"
    known_names = {*known}
    for position, column in enumerate(columns):
        if column not in known_names:
            raise InvalidRequest(f"unknown column {preview(column)}; {expected}")
        if column in found:
            raise _double(column, column, column)
        found[column] = position
    for name in required:
        if name not in found:
            raise InvalidRequest(f"missing column {preview(name)}; {expected}", name=name, rule="missing")
    return [found[name] for name in required]


def values_of_rows(rows: Any, positions: Layout) -> dict[str, Any]:
    """Return the values of a table by input.

    Args:
        rows: lists or tuples of equal length, or an array of two dimensions.
    """
    columns: Sequence[Sequence[Any]] | None = None
    values: dict[str, Any] = {}
    for name, position in positions.items():
        if not isinstance(position, int) and list(position) == [*range(len(position))]:
            values[name] = rows
        elif isinstance(rows, np.ndarray):
            values[name] = np.ascontiguousarray(rows[:, position])
        elif isinstance(position, int):
            columns = columns or [*zip(*rows, strict=True)]
            values[name] = list(columns[position]) if columns else []
        else:
            values[name] = [*map(itemgetter(*position), rows)]
    return values


def pick(rows: Any, names: Sequence[str], row: str, column: str) -> list[Any]:
    """Return a tuple of the values of `names` for each row.

    Args:
        rows: an object for each row.
        row, column: what they are called in an error message.

    Raises:
        InvalidRequest: a row does not have exactly these names.
    """
    try:
        get = itemgetter(*names) if len(names) > 1 else lambda values: (values[names[0]],)
        if all(len(values) == len(names) for values in rows):
            return [get(values) for values in rows]
    except (IndexError, KeyError, TypeError):
        pass  # the first invalid row is named below
    known = {*names}
    for index, values in enumerate(rows):
        if not isinstance(values, dict):
            raise InvalidRequest(f"{row} {index}: expected an object of {column}s")
        for name in names:
            if name not in values:
                message = f"{row} {index}: missing {column} {preview(name)}"
                raise InvalidRequest(message, name=name, rule="missing")
        for name in values:
            if name not in known:
                raise InvalidRequest(f"{row} {index}: unknown {column} {preview(name)}")
    raise InvalidRequest(f"expected every {row} to be an object of {column}s")
