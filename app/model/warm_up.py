"""The warm-up: measure how long the model takes, and configure the batcher for it."""

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from app.errors import RequestError
from app.model.batcher import INLINE_S, Batcher
from app.model.batching import batching_obstacle
from app.model.cost_model import CostModel
from app.model.job import Inputs
from app.model.onnx_model import Model
from app.model.served_model import ServedModel
from app.settings import Settings
from app.tensors.datatypes import DATATYPES, Array
from app.tensors.from_json import inputs_from_json
from model_loader.package import TensorSpec
from model_loader.package.samples import Sample

# The measurement: how often each number of rows is measured, and the time of all.
PASSES = 3
MEASURE_S = 1.5
# Most rows of a request that runs in the caller's thread; measuring more would need memory.
MAX_INLINE_ROWS = 1024
# Share of a request's deadline that a batch may take: while one runs, the requests of the next one wait.
BATCH_SHARE = 0.25
# Assumed time of a row, until the first inference, if there are no inputs to measure it with.
ROW_S = 0.01


def warm_up(served: ServedModel, samples: Sequence[Sample], settings: Settings) -> Batcher:
    """Warm the model up and return a batcher that is configured for it.

    A fast model runs in the caller's thread. A model that passes the batching test gets batches.

    Args:
        served: the model.
        samples: the package's samples; without any, random inputs are generated from the input specs.
        settings: resolved settings.
    """
    model = served.model
    requests = sample_inputs(served, samples) or _random_inputs(served)
    obstacle = "BATCHING is off" if settings.batching == "off" else batching_obstacle(model, requests)
    cost = measure(model, requests, settings.max_batch_rows)
    inline_rows = cost.rows_within(INLINE_S) if requests else 0
    # The largest batch that pays, or that takes no longer than a thread may be blocked anyway.
    largest = min(settings.max_batch_rows, max(cost.paying_rows(settings.max_batch_rows), inline_rows))
    return Batcher(
        model,
        threads=settings.inference_concurrency,
        max_queue_rows=settings.max_queue_rows,
        cost=cost,
        batch_rows=0 if obstacle else largest,
        max_batch_s=BATCH_SHARE * settings.request_timeout_ms / 1000,
        batching=f"every request runs by itself: {obstacle}" if obstacle else f"up to {largest} rows",
        inline_rows=inline_rows,
    )


def sample_inputs(served: ServedModel, samples: Sequence[Sample]) -> list[Inputs]:
    """Return the model's inputs for each sample.

    Raises:
        RequestError: a sample does not fit the inputs, or the pre-processing hook fails.
    """
    requests: list[Inputs] = [inputs_from_json(sample.inputs, served.inputs) for sample in samples]
    return list(map(served.before, requests)) if served.before else requests


def example_inputs(served: ServedModel) -> list[Inputs]:
    """Return the model's inputs for its example; none without an example.

    Raises:
        RequestError: the pre-processing hook fails.
    """
    if served.example is None:
        return []
    inputs = inputs_from_json(served.example, served.inputs)
    return [served.before(inputs) if served.before else inputs]


def measure(model: Model, requests: Sequence[Inputs], max_rows: int) -> CostModel:
    """Measure how long the model takes for one row and for batches, twice as large each time.

    The fastest of several passes counts: other processes only make inferences slower.

    Args:
        requests: inputs to measure with; if their rows cannot be repeated, the first one is used as it is.
        max_rows: number of rows after which to end if more do not run in the caller's thread.
    """
    if not requests:
        return CostModel({1: ROW_S})
    first, began = requests[0], perf_counter()
    can_repeat = is_batch(model, first)
    rows, seconds = 1 if can_repeat else max(1, _rows(first)), 0.0
    inputs: dict[int, Inputs] = {}
    measured: dict[int, float] = {}
    try:
        while not measured or perf_counter() - began + 2 * seconds < MEASURE_S / 2:
            inputs[rows] = repeat_rows(first, rows) if can_repeat else first
            measured[rows] = seconds = _duration(model, inputs[rows])
            if not can_repeat or (rows >= max_rows and (seconds > INLINE_S or rows >= MAX_INLINE_ROWS)):
                break
            rows *= 2
        for rows in list(measured) * (PASSES - 1):
            if perf_counter() - began + measured[rows] < MEASURE_S:
                measured[rows] = min(measured[rows], _duration(model, inputs[rows]))
    except RequestError:
        pass  # a model that fails on repeated rows may still answer requests
    return CostModel(measured or {1: ROW_S})


def is_batch(model: Model, inputs: Inputs) -> bool:
    """Return whether a request has rows that can be repeated."""
    return bool(inputs) and model.batched_inputs >= inputs.keys() and _rows(inputs) > 0


def repeat_rows(inputs: Inputs, rows: int) -> Inputs:
    """Return as many rows, by repeating those of a request."""
    return {name: array[np.arange(rows) % len(array)] for name, array in inputs.items()}


def _duration(model: Model, inputs: Inputs) -> float:
    began = perf_counter()
    model.infer(inputs)
    return perf_counter() - began


def _rows(inputs: Inputs) -> int:
    """Return the size of the first dimension of the first array; 1 if there is none."""
    arrays = (value for value in inputs.values() if isinstance(value, np.ndarray) and value.ndim)
    return next(map(len, arrays), 1)


def _random_inputs(served: ServedModel) -> list[Inputs]:
    """Return two requests of random rows; none if a required input is not a numeric tensor.

    Integers, and the sizes of free dimensions beyond the first, are those of the example.
    """
    generator = np.random.default_rng(0)
    required = [spec for spec in served.model.inputs.values() if not spec.optional]
    if any(spec.datatype == "STRING" or "(" in spec.datatype for spec in required):
        return []
    example = next(iter(example_inputs(served)), {})
    return [
        {spec.name: _random_array(spec, rows, generator, example.get(spec.name)) for spec in required}
        for rows in (1, 2)
    ]


def _random_array(
    spec: TensorSpec, rows: int, generator: np.random.Generator, example: Array | None
) -> Array:
    sizes = spec.shape or ()
    known = (1,) * len(sizes) if example is None else example.shape
    shape = [
        size if isinstance(size, int) else known[axis] if axis else rows for axis, size in enumerate(sizes)
    ]
    dtype = DATATYPES[spec.datatype]
    if "FP" in spec.datatype or spec.datatype == "BF16":
        return np.asarray(generator.standard_normal(shape)).astype(dtype)
    return np.full(shape, 0 if example is None or not example.size else example.flat[0], dtype)
