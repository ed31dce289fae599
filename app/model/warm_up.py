"""The warm-up: measure the model's latency, and test whether requests can share a batch."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np

from app.errors import RequestError
from app.model.batcher import INLINE_S, Batcher, Inputs, row_shapes
from app.model.onnx_model import Model
from app.model.samples import matches
from app.model.served_model import ServedModel
from app.settings import Settings
from app.tensors.datatypes import DATATYPES
from app.tensors.from_json import inputs_from_json
from model_loader.package import TensorSpec
from model_loader.package.samples import ATOL, RTOL, Sample

REPEATS = 5


def warm_up(served: ServedModel, samples: Sequence[Sample], settings: Settings) -> Batcher:
    """Warm the model up and return a batcher that is configured for it.

    A fast model runs in the caller's thread. A model that passes the batching test gets batches.

    Args:
        served: the model.
        samples: the package's samples; without any, random inputs are generated from the input specs.
        settings: resolved settings.
    """
    model = served.model
    requests = sample_inputs(served, samples) or _random_inputs(model)
    rtol = max((sample.rtol for sample in samples), default=RTOL)
    atol = max((sample.atol for sample in samples), default=ATOL)
    can_batch = settings.batching == "on" and is_batchable(model, requests, rtol, atol)
    return Batcher(
        model,
        threads=settings.inference_concurrency,
        max_queue_rows=settings.max_queue_rows,
        max_batch_rows=settings.max_batch_rows if can_batch else 1,
        inline_rows=_inline_rows(model, requests),
    )


def sample_inputs(served: ServedModel, samples: Sequence[Sample]) -> list[Inputs]:
    """Return the model's inputs for each sample.

    Raises:
        RequestError: a sample does not fit the inputs, or the pre-processing hook fails.
    """
    requests: list[Inputs] = [inputs_from_json(sample.inputs, served.inputs) for sample in samples]
    return list(map(served.before, requests)) if served.before else requests


def is_batchable(model: Model, requests: Sequence[Inputs], rtol: float, atol: float) -> bool:
    """Test whether requests get the same outputs in a batch as they get separately.

    A free first dimension may be a batch, but also a sequence or a set whose rows depend on each other. The
    graph does not distinguish them, so the model is run with rows that differ: with equal rows, a mean over
    the batch would go unnoticed.
    """
    if not requests or not model.has_batched_outputs:
        return False
    if not all(inputs and model.batched_inputs >= inputs.keys() for inputs in requests):
        return False
    groups: dict[Any, list[Inputs]] = {}
    for inputs in requests:
        groups.setdefault(row_shapes(inputs), []).append(inputs)
    try:
        verdicts = [_is_same_in_batch(model, group, rtol, atol) for group in groups.values()]
    except RequestError:
        return False
    return True in verdicts and False not in verdicts


def _is_same_in_batch(model: Model, requests: Sequence[Inputs], rtol: float, atol: float) -> bool | None:
    """Compare the outputs of a batch with those of its requests; return None if all rows are equal.

    Args:
        requests: with equal row shapes.

    Raises:
        RequestError: the model failed.
    """
    batch = {name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]}
    if all((array == array[:1]).all() for array in batch.values()):
        return None
    batch_outputs, low = model.infer(batch), 0
    for inputs in requests:
        high = low + len(next(iter(inputs.values())))
        for name, output in model.infer(inputs).items():
            if not matches(batch_outputs[name][low:high], output, rtol, atol):
                return False
        low = high
    return True


def _inline_rows(model: Model, requests: Sequence[Inputs]) -> int:
    """Return how many rows the model answers within INLINE_S, estimated from the first request; may be 0."""
    if not requests:
        return 0
    times = []
    try:
        for _ in range(REPEATS):
            began = perf_counter()
            model.infer(requests[0])
            times.append(perf_counter() - began)
    except RequestError:
        return 0
    rows = next(
        (len(value) for value in requests[0].values() if isinstance(value, np.ndarray) and value.ndim), 1
    )
    return int(INLINE_S / min(times)) * max(1, rows)


def _random_inputs(model: Model) -> list[Inputs]:
    """Return two requests of random rows; none if a required input is not a numeric tensor."""
    generator = np.random.default_rng(0)
    required = [spec for spec in model.inputs.values() if not spec.optional]
    if any(spec.datatype == "STRING" or "(" in spec.datatype for spec in required):
        return []
    return [{spec.name: _random_array(spec, rows, generator) for spec in required} for rows in (1, 2)]


def _random_array(spec: TensorSpec, rows: int, generator: np.random.Generator) -> Any:
    shape = [
        size if isinstance(size, int) else 1 if axis else rows for axis, size in enumerate(spec.shape or ())
    ]
    scale = 1.0 if "FP" in spec.datatype or spec.datatype == "BF16" else 0.0
    return np.asarray(generator.standard_normal(shape) * scale).astype(DATATYPES[spec.datatype])
