"""The batching test: whether requests get the same outputs in a batch as separately."""

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from app.errors import RequestError
from app.model.job import Inputs, row_shapes
from app.model.onnx_model import Model
from app.model.samples import matches
from app.tensors.datatypes import DATATYPES
from model_loader.package import TensorSpec

# The tolerances are for rounding, whatever those of the samples are: callers that share a batch change each
# other's outputs by as much. Types with fewer digits have a tolerance of a few units in the last place.
RTOL = 1e-4
ATOL = 1e-5
UNITS = 4
FIRST, OTHERS = slice(1), slice(1, None)
DEPENDS = "of a row depends on the other rows of a batch"


def batching_obstacle(model: Model, requests: Sequence[Inputs]) -> str:
    """Test whether requests get the same outputs in a batch as separately; return why not, or "".

    A free first dimension may be a batch, but also a sequence or a set whose rows depend on each other. The
    graph does not distinguish them, so the model is run with rows that differ: with equal rows, a mean over
    the batch would go unnoticed.
    """
    if not model.has_batched_outputs:
        return "the outputs have no batch dimension"
    if not requests:
        return "without samples.json there is nothing to test it with"
    if not all(inputs and model.batched_inputs >= inputs.keys() for inputs in requests):
        return "the inputs have no batch dimension"
    if len(requests) == 1:  # its rows are the requests
        requests = [{name: array[rows] for name, array in requests[0].items()} for rows in (FIRST, OTHERS)]
    groups: dict[Any, list[Inputs]] = {}
    for inputs in requests:
        groups.setdefault(row_shapes(inputs), []).append(inputs)
    groups = {shapes: group for shapes, group in groups.items() if _has_different_rows(group)}
    if not groups:
        return "the samples have no two different rows to test it with"
    try:
        obstacles = [_changed_output(model, group) for group in groups.values()]
    except RequestError as exc:
        return f"the batching test failed: {exc}"
    return next(filter(None, obstacles), "")


def depends_on_batch(obstacle: str) -> bool:
    """Return whether an obstacle is that the outputs of a row depend on the other rows."""
    return obstacle.endswith(DEPENDS)


def _has_different_rows(requests: Sequence[Inputs]) -> bool:
    batch = _concatenate(requests)
    return not all((array == array[:1]).all() for array in batch.values())


def _changed_output(model: Model, requests: Sequence[Inputs]) -> str:
    """Compare the outputs of a batch with those of its requests.

    Args:
        requests: with equal row shapes.

    Raises:
        RequestError: the model failed.
    """
    batch_outputs, low = model.infer(_concatenate(requests)), 0
    for inputs in requests:
        high = low + len(next(iter(inputs.values())))
        for name, output in model.infer(inputs).items():
            if not matches(batch_outputs[name][low:high], output, _rtol(model.outputs[name]), ATOL):
                return f"output '{name}' {DEPENDS}"
        low = high
    return ""


def _rtol(output: TensorSpec) -> float:
    """Return the relative tolerance of an output."""
    if not output.datatype.startswith(("FP", "BF")):
        return RTOL
    info = ml_dtypes.finfo(DATATYPES[output.datatype])  # type: ignore[no-untyped-call]
    return max(RTOL, UNITS * float(info.eps))


def _concatenate(requests: Sequence[Inputs]) -> dict[str, Any]:
    return {name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]}
