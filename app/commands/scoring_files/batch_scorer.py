"""The service's own way from rows to outputs, without a server: many rows, a request of them at a time."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from app.errors import RequestError
from app.model.batching import batching_obstacle, depends_on_batch
from app.model.columns import count_rows
from app.model.data_contract import DataContract
from app.model.job import batch_key
from app.model.self_test import load_and_verify
from app.model.served_model import ServedModel
from app.model.warm_up import example_inputs, sample_inputs
from app.settings import Settings
from app.transform import OwnTransform
from model_loader.package.schema import Schema, read_schema

Row = TypeVar("Row")
Answer = TypeVar("Answer")
Inputs = Mapping[str, Any]
# Rows of a request, unless the caller wants other ones.
BATCH_ROWS = 4096


class BatchScorer:
    """A verified model, and how the service runs it.

    Attributes:
        batch_rows: rows of a request; 1 if the outputs of a row depend on the other rows.
        contract: the rules of the package's schema; None without one.
    """

    def __init__(self, package: Path, batch_rows: int = BATCH_ROWS) -> None:
        """Load and verify a model.

        Args:
            package: directory of a package or draft, or an ONNX file.

        Raises:
            StartupError: a setting is invalid, or the service would refuse to start with the model.
        """
        environ = Settings.from_environ(os.environ)
        self.settings = replace(environ, model_path=package, web_concurrency=1).resolved()
        verified = load_and_verify(self.settings, OwnTransform)
        self.model: ServedModel = verified.model
        self.schema: Schema | None = read_schema(self.model.package)
        self.contract = DataContract(self.schema, self.model) if self.schema else None
        requests = sample_inputs(self.model, verified.samples) or example_inputs(self.model)
        obstacle = batching_obstacle(self.model.model, requests)
        self._slice_rows = 0 if obstacle else self.settings.max_batch_rows
        self.batch_rows = 1 if depends_on_batch(obstacle) else batch_rows

    def infer(self, inputs: Inputs) -> Inputs:
        """Return the outputs for a request's inputs: check, pre-process, run in batches, post-process.

        Raises:
            RequestError: `/score` would refuse the request, or the model fails.
        """
        if self.contract and self.settings.schema == "enforce":
            self.contract.check(inputs)
        if self.model.before:
            inputs = self.model.before(inputs)
        outputs = self._run(inputs)
        return self.model.after(outputs) if self.model.after else outputs

    def _run(self, inputs: Inputs) -> Inputs:
        model, rows = self.model.model, count_rows(inputs)
        if not 0 < self._slice_rows < rows or batch_key(model.batched_inputs, inputs, rows) is None:
            return model.infer(inputs)
        # Of equal size: ONNX Runtime calculates a single row with another kernel, whose last digits differ.
        bounds = np.linspace(0, rows, -(-rows // self._slice_rows) + 1).astype(int).tolist()
        parts = [
            model.infer({name: array[begin:end] for name, array in inputs.items()})
            for begin, end in pairwise(bounds)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def answer_each(
    rows: Sequence[Row], answer: Callable[[Sequence[Row]], Sequence[Answer]]
) -> list[Answer | RequestError]:
    """Answer rows as one request; if it is refused, set aside the rows because of which it is.

    Args:
        answer: returns an answer for each row, or raises RequestError.

    Returns:
        for each row its answer, or why it has none.
    """
    try:
        return [*answer(rows)]
    except RequestError as exc:
        if len(rows) == 1:
            return [exc]
    found = _by_halves(rows, answer)
    kept = [index for index, each in enumerate(found) if not isinstance(each, RequestError)]
    if 0 < len(kept) < len(rows):
        try:
            for index, each in zip(kept, answer([rows[index] for index in kept]), strict=True):
                found[index] = each
        except RequestError:
            pass  # they are no request together, and have been answered in parts
    return found


def _by_halves(
    rows: Sequence[Row], answer: Callable[[Sequence[Row]], Sequence[Answer]]
) -> list[Answer | RequestError]:
    """Answer the halves of a request that was refused; a half that is refused likewise."""
    found: list[Answer | RequestError] = []
    middle = len(rows) // 2
    for half in (rows[:middle], rows[middle:]):
        try:
            found.extend(answer(half))
        except RequestError as exc:
            if len(half) == 1:
                found.append(exc)
            else:
                found.extend(_by_halves(half, answer))
    return found
