"""DataFrames in JSON, as pandas, MLflow and Azure Machine Learning write them.

https://pandas.pydata.org/docs/reference/api/pandas.DataFrame.to_json.html, `orient` "split" and "records"
https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/, "Accepted Input Formats"
https://learn.microsoft.com/azure/machine-learning/how-to-deploy-mlflow-models-online-endpoints, `input_data`
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.errors import InvalidRequest
from app.protocols import table
from app.tensors.datatypes import DATATYPES, MAX_ELEMENTS
from app.tensors.io_spec import preview
from app.tensors.tensor_document import NumberText
from model_loader.package import TensorSpec

_MEMBERS = {"columns", "data", "index"}


def is_split(document: Mapping[str, Any]) -> bool:
    """Return whether an object is a DataFrame in the form of `orient="split"`."""
    return "columns" in document and "data" in document


def from_split(
    form: str, frame: Any, specs: Mapping[str, TensorSpec], features: Sequence[str] | None
) -> tuple[dict[str, Any], int]:
    """Return the values by input, and the number of rows.

    Args:
        form: the member that has the frame, for error messages.
        frame: an object of `columns`, `data` and, optionally, `index`.

    Raises:
        InvalidRequest: it is not such an object, or its columns do not fit the inputs.
    """
    if not isinstance(frame, dict) or not is_split(frame):
        raise InvalidRequest(f"expected '{form}' to be an object of 'columns' and 'data'")
    if unknown := frame.keys() - _MEMBERS:
        raise InvalidRequest(f"'{form}': unknown member {preview(min(unknown))}; expected 'columns', 'data'")
    columns = _column_names(frame["columns"])
    positions = table.layout(columns, specs, features)
    rows = frame["data"]
    if isinstance(rows, NumberText):
        rows = _parse(rows, [specs[name] for name in positions])
    _check_rows(rows, len(columns))
    if not isinstance(frame.get("index", []), list):
        raise InvalidRequest(f"'{form}': expected 'index' to be an array, got {preview(frame['index'])}")
    return table.values_of_rows(rows, positions), len(rows)


def from_records(
    rows: Any, specs: Mapping[str, TensorSpec], features: Sequence[str] | None
) -> tuple[dict[str, Any], int]:
    """Return the values by input, and the number of rows.

    Args:
        rows: an object of columns for each row.

    Raises:
        InvalidRequest: it is something else, or its columns do not fit the inputs.
    """
    if not isinstance(rows, list) or not isinstance(rows[0] if rows else {}, dict):
        raise InvalidRequest("expected an array of rows, each an object of columns")
    if not rows:
        return {name: [] for name, spec in specs.items() if not spec.optional}, 0
    columns = tuple(rows[0])
    positions = table.layout(columns, specs, features)
    return table.values_of_rows(table.pick(rows, columns, "row", "column"), positions), len(rows)


def _column_names(columns: Any) -> list[str]:
    """Return the names; pandas numbers the columns that have none."""
    if not isinstance(columns, list) or not {*map(type, columns)} <= {str, int}:
        raise InvalidRequest("expected 'columns' to be an array of names")
    return [str(column) for column in columns]


def _parse(rows: NumberText, specs: Sequence[TensorSpec]) -> Any:
    """Return a table of numbers as an array of the inputs' type.

    Raises:
        InvalidRequest: the inputs have several types, or the numbers do not fit it.
    """
    types = {spec.datatype for spec in specs}
    if len(types) != 1 or not types <= DATATYPES.keys():
        raise InvalidRequest("the columns have several types")
    return rows.parse(DATATYPES[types.pop()], MAX_ELEMENTS)


def _check_rows(rows: Any, size: int) -> None:
    """Check that the data are rows of as many values as there are columns."""
    if isinstance(rows, np.ndarray):
        if rows.ndim != 2 or rows.shape[1] != size:
            raise InvalidRequest(f"expected rows of {size} values")
        return
    if not isinstance(rows, list):
        raise InvalidRequest(f"expected 'data' to be an array of rows, got {preview(rows)}")
    if {*map(type, rows)} <= {list} and {*map(len, rows)} <= {size}:
        return
    for index, row in enumerate(rows):
        if not isinstance(row, list):
            raise InvalidRequest(f"row {index}: expected an array of {size} values, got {preview(row)}")
        if len(row) != size:
            raise InvalidRequest(f"row {index}: expected {size} values, one a column, got {len(row)}")
