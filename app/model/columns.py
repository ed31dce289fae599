"""A request's inputs and outputs by row, under the names that `schema.json` gives them."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from app.model.served_model import ServedModel
from app.tensors.datatypes import Array

# A value for each row: an array whose first dimension is the batch, or a list.
Column: TypeAlias = Array | list[Any]


class Columns:
    """The columns of a model's requests and responses.

    A feature is a column of the only required input if the package names its columns, else an input.

    Attributes:
        wide: name of the input whose columns have names; empty if there is none.
        names: of the columns of that input.
    """

    def __init__(self, model: ServedModel) -> None:
        self.names = tuple(model.features or ())
        required = (name for name, spec in model.inputs.items() if not spec.optional)
        self.wide = next(required) if self.names else ""

    def features(self, inputs: Mapping[str, Any], rows: int) -> dict[str, Column]:
        """Return feature → its value in each row.

        Args:
            inputs: of a request, name → array, list or dict.
            rows: number of rows.
        """
        columns: dict[str, Column] = {}
        for name, value in inputs.items():
            if self.is_table(name, value):
                columns.update(zip(self.names, value.T, strict=True))
            else:
                columns[name] = by_row(value, rows)
        return columns

    def is_table(self, name: str, value: Any) -> bool:
        """Return whether an input is an array whose columns have names."""
        return name == self.wide and value.ndim == 2 and value.shape[1] == len(self.names)


def by_row(value: Any, rows: int) -> Column:
    """Return the value of each row; the whole value, repeated, if it is not divided into rows.

    Args:
        value: array, list, dict or None.
    """
    if isinstance(value, np.ndarray) and value.ndim and len(value) == rows:
        # [batch, 1] is one value a row, as in a request of rows.
        return value.reshape(rows) if value.size == rows else value
    if isinstance(value, list) and len(value) == rows:
        return value
    return [value] * rows


def count_rows(values: Mapping[str, Any]) -> int:
    """Return the size of the first dimension of the first array; 1 if there is none."""
    for value in values.values():
        if isinstance(value, np.ndarray) and value.ndim:
            return len(value)
    return 1
