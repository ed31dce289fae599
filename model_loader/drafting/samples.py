"""`samples.json`: a dozen rows that differ, with the outputs that are expected for them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_loader.drafting.json_values import to_json
from model_loader.drafting.predictions import compare
from model_loader.drafting.session import DraftModel, Output, rows_of
from model_loader.errors import DraftError

Array = NDArray[Any]
# The last of a dozen samples has several rows, because a graph can be exported for one row by mistake.
SAMPLES, BATCH_ROWS = 12, 3
ROWS = SAMPLES - 1 + BATCH_ROWS
CANDIDATES, CANDIDATE_VALUES = 2000, 2**22
MAX_CLASSES = 6
RTOL, ATOL = 1e-3, 1e-5
# Of the largest output: the error of a sum of float32 numbers.
FLOAT32_DIGITS = 1e-6


def choose_rows(
    fields: Mapping[str, Array], labels: Array | None, usable: NDArray[np.bool_], batch: int | None = None
) -> list[int]:
    """Choose rows that differ: a typical one, one of each class, then those farthest from all chosen.

    Args:
        fields: name → values for all rows.
        labels: the predicted labels for all rows, or None.
        usable: which rows can be samples, shape (rows,).
        batch: the number of rows that a request must have, or None.
    """
    rows = np.flatnonzero(usable)
    if not len(rows):
        return []
    width = sum(values[:1].size for values in fields.values())
    wanted = max(ROWS, batch or 1)
    count = max(wanted, min(CANDIDATES, max(4 * ROWS, CANDIDATE_VALUES // width)))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))]
    points = np.hstack([_coordinates(values[rows]) for values in fields.values()])
    distance = np.abs(points).sum(axis=1)
    chosen = [int(distance.argmin())]
    if labels is not None:
        of_rows = labels[rows].tolist()
        first = {label: of_rows.index(label) for label in dict.fromkeys(of_rows)}
        first.pop(of_rows[chosen[0]])
        chosen += list(first.values())[: MAX_CLASSES - 1]
    nearest = np.full(len(rows), np.inf)
    for index in chosen:
        nearest = np.minimum(nearest, np.abs(points - points[index]).sum(axis=1))
    while len(chosen) < min(wanted, len(rows)):
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.abs(points - points[chosen[-1]]).sum(axis=1))
    return [int(rows[index]) for index in chosen]


def group_rows(rows: Sequence[int], batch: int | None) -> list[list[int]]:
    """Return the rows of each sample: one, and several in the last one; all have `batch`, if there is one."""
    if batch is not None:
        return [list(rows[begin : begin + batch]) for begin in range(0, len(rows) - batch + 1, batch)]
    single = [[row] for row in rows]
    if len(rows) <= BATCH_ROWS:
        return single
    return [*single[:-BATCH_ROWS], list(rows[-BATCH_ROWS:])]


def make_samples(
    model: DraftModel,
    inputs: Mapping[str, Array],
    rows: Sequence[int],
    expected: Mapping[str, Output] | None,
    limits: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Return the content of `samples.json`.

    Args:
        inputs: name → array for all rows.
        rows: the chosen rows.
        expected: the framework's outputs for all rows; None: ONNX Runtime gives them, and the samples say so.
        limits: `rtol` and `atol`.

    Raises:
        DraftError: there are no rows, or a row of its own gets another answer than in a batch.
    """
    samples = []
    for group in group_rows(rows, model.batch):
        request = {name: array[group] for name, array in inputs.items()}
        answer = model.run(request)
        outputs = (
            answer if expected is None else {name: rows_of(value, group) for name, value in expected.items()}
        )
        for name, value in outputs.items() if expected is not None else ():
            difference = compare(name, value, answer[name], limits["rtol"], limits["atol"])
            if difference.different.any():
                raise DraftError(
                    f"output '{name}' of row {', '.join(str(row + 1) for row in group)} depends on the other "
                    f"rows of a request: alone, {difference}; give the tolerance that you accept with --atol"
                )
        sample: dict[str, Any] = {
            "inputs": {name: to_json(array) for name, array in request.items()},
            "outputs": {name: to_json(value) for name, value in outputs.items()},
            **limits,
        }
        samples.append(sample | ({"source": "onnxruntime"} if expected is None else {}))
    if not samples:
        reason = f"{model.batch} rows" if model.batch and rows else "any row"
        raise DraftError(f"there are no samples: the model does not answer {reason} as its framework does")
    return samples


def tolerances(outputs: Mapping[str, Output], rtol: float | None, atol: float | None) -> dict[str, float]:
    """Return `rtol` and `atol` of the samples, by default what float32 takes for values of this size."""
    floats = [
        value for value in outputs.values() if isinstance(value, np.ndarray) and value.dtype.kind == "f"
    ]
    largest = max((float(np.abs(value[np.isfinite(value)]).max(initial=0)) for value in floats), default=0.0)
    fitting = max(ATOL, float(f"{largest * FLOAT32_DIGITS:.0e}"))
    return {"rtol": RTOL if rtol is None else rtol, "atol": fitting if atol is None else atol}


def _coordinates(values: Array) -> NDArray[np.float64]:
    """Return values as coordinates of the same scale, shape (rows, n); a missing value is far from others."""
    if values.dtype.kind in "OUb":
        _, codes = np.unique(values.reshape(len(values), -1).astype(str), return_inverse=True)
        codes = codes.reshape(len(values), -1)
        # Two of many texts differ as much as two of a few.
        return np.hstack([codes % 2, codes // 2 % 2, codes // 4 % 2]).astype(np.float64)
    numbers = values.reshape(len(values), -1).astype(np.float64)
    missing = ~np.isfinite(numbers)
    filled = np.where(missing, np.nan, numbers)
    with np.errstate(invalid="ignore"):
        centre = np.where(
            missing.all(axis=0), 0.0, np.nanmedian(np.where(missing.all(axis=0), 0.0, filled), axis=0)
        )
    filled = np.where(missing, centre, filled) - centre
    scale = np.where(filled.std(axis=0) > 0, filled.std(axis=0), 1.0)
    return np.hstack([filled / scale, missing * 3.0])
