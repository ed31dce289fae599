"""The warm-up: how fast the model is, and whether requests may run on it together."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np

from app.errors import RequestError
from app.model.batcher import INLINE_S, Batcher, Inputs, kind_of
from app.model.onnx_model import Model
from app.model.samples import ATOL, RTOL, Sample, matches
from app.model.served_model import ServedModel
from app.settings import Settings
from app.tensors.datatypes import DATATYPES
from app.tensors.from_json import inputs_from_json
from model_loader.package import TensorSpec

REPEATS = 5


def warm_up(served: ServedModel, samples: Sequence[Sample], settings: Settings) -> Batcher:
    """A batcher that knows the model: a fast one answers inline, one that proves it can is given batches.

    Args:
        samples: which the model answers; without any, random inputs are made from its signature.
        settings: resolved.
    """
    model = served.model
    requests = sample_inputs(served, samples) or _random(model)
    rtol = max((sample.rtol for sample in samples), default=RTOL)
    atol = max((sample.atol for sample in samples), default=ATOL)
    is_batched = settings.batching == "on" and proves_batching(model, requests, rtol, atol)
    return Batcher(
        model,
        threads=settings.inference_concurrency,
        max_queue_rows=settings.max_queue_rows,
        max_batch_rows=settings.max_batch_rows if is_batched else 1,
        inline_rows=_inline_rows(model, requests),
    )


def sample_inputs(served: ServedModel, samples: Sequence[Sample]) -> list[Inputs]:
    """The model's inputs for each sample."""
    requests: list[Inputs] = [inputs_from_json(sample.inputs, served.inputs) for sample in samples]
    return list(map(served.before, requests)) if served.before else requests


def proves_batching(model: Model, requests: Sequence[Inputs], rtol: float, atol: float) -> bool:
    """Whether requests get the same answers together as they get alone.

    A free first dimension may be a batch's, or a sequence's or a set's, whose rows belong together; the graph
    does not tell, so it is tried, with rows that differ: a mean over equal rows would not show.
    """
    if not requests or not model.gives_rows:
        return False
    if not all(inputs and all(model.batched[name] for name in inputs) for inputs in requests):
        return False
    kinds: dict[Any, list[Inputs]] = {}
    for inputs in requests:
        kinds.setdefault(kind_of(inputs), []).append(inputs)
    try:
        verdicts = [_agrees(model, alike, rtol, atol) for alike in kinds.values()]
    except RequestError:
        return False
    return True in verdicts and False not in verdicts


def _agrees(model: Model, requests: Sequence[Inputs], rtol: float, atol: float) -> bool | None:
    """Whether requests of one kind are answered together as alone; None where equal rows cannot tell.

    Raises:
        RequestError: the model fails.
    """
    together = {name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]}
    if all((array == array[:1]).all() for array in together.values()):
        return None
    whole, low = model.infer(together), 0
    for inputs in requests:
        high = low + len(next(iter(inputs.values())))
        for name, output in model.infer(inputs).items():
            if not matches(whole[name][low:high], output, rtol, atol):
                return False
        low = high
    return True


def _inline_rows(model: Model, requests: Sequence[Inputs]) -> int:
    """Rows that the model answers within INLINE_S, by the time of the first request; 0: not even one."""
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


def _random(model: Model) -> list[Inputs]:
    """Two requests of random rows, where all inputs that the model needs are numbers."""
    numbers = np.random.default_rng(0)
    required = [spec for spec in model.inputs.values() if not spec.optional]
    if any(spec.datatype == "STRING" or "(" in spec.datatype for spec in required):
        return []
    return [{spec.name: _random_array(spec, rows, numbers) for spec in required} for rows in (1, 2)]


def _random_array(spec: TensorSpec, rows: int, numbers: np.random.Generator) -> Any:
    free = (rows, *(1 for _ in spec.shape[1:])) if spec.shape else ()
    shape = [size if isinstance(size, int) else one for size, one in zip(spec.shape or (), free, strict=True)]
    scale = 1.0 if "FP" in spec.datatype or spec.datatype == "BF16" else 0.0
    return np.asarray(numbers.standard_normal(shape) * scale).astype(DATATYPES[spec.datatype])
