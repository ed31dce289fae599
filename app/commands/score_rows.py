"""Score captured rows with another model, as `POST /score` does; for `python -m monitor replay`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from app.commands.scoring_files.batch_scorer import BATCH_ROWS, BatchScorer, answer_each
from app.commands.scoring_files.errors import ScoringError
from app.errors import InferenceFailed, RequestError, StartupError
from app.observability.captured_row import RowEncoder
from app.protocols.score import decode_rows
from model_loader.package import Package


@dataclass(frozen=True)
class RowAnswer:
    """What the model answers to a row.

    Attributes:
        outputs: as captured rows have them; None if the row was refused.
        error: why it was refused; empty if it was not.
    """

    outputs: Mapping[str, Any] | None
    error: str = ""


class _Answered(NamedTuple):
    """An answer, and the inputs of the request that it was part of."""

    answer: RowAnswer
    inputs: Mapping[str, Any]


class RowScorer:
    """A verified model that scores rows as capture writes them.

    Attributes:
        package: the model's package.
        violations: feature and rule of the package's schema → number of the values so far that violate it.
        max_missing: feature → share of its values that may be missing, if the schema says so.
        withheld: features that captured rows do not have, or have as hashes, by the schema.
    """

    def __init__(self, package_directory: Path) -> None:
        """Load and verify the model.

        Raises:
            ScoringError: the service would refuse to start with it.
        """
        try:
            self._scorer = BatchScorer(package_directory, BATCH_ROWS)
        except StartupError as exc:
            raise ScoringError(str(exc)) from exc
        model, schema = self._scorer.model, self._scorer.schema
        self.package: Package = model.package
        self.violations: Counter[tuple[str, str]] = Counter()
        features = schema.features.values() if schema else ()
        self.max_missing = {each.name: each.max_missing for each in features if each.max_missing is not None}
        self.withheld = tuple(each.name for each in features if each.is_withheld)
        self._encoder = RowEncoder(model, schema, self._scorer.settings.capture_max_elements, None)

    def score(self, rows: Sequence[Mapping[str, Any]]) -> list[RowAnswer]:
        """Return an answer for each row.

        Args:
            rows: the `inputs` of captured rows: feature → value.
        """
        step = self._scorer.batch_rows
        return [
            answer
            for begin in range(0, len(rows), step)
            for answer in self._score(rows[begin : begin + step])
        ]

    def _score(self, rows: Sequence[Mapping[str, Any]]) -> list[RowAnswer]:
        found = answer_each(rows, self._answer)
        requests = {id(each.inputs): each.inputs for each in found if not isinstance(each, RequestError)}
        if self._scorer.contract:
            self.violations.update(self._scorer.contract.count([*requests.values()]))
        return [
            RowAnswer(None, str(each)) if isinstance(each, RequestError) else each.answer for each in found
        ]

    def _answer(self, rows: Sequence[Mapping[str, Any]]) -> list[_Answered]:
        model = self._scorer.model
        inputs = decode_rows(rows, model.inputs, model.features)
        outputs = self._scorer.infer(inputs)
        try:
            (encoded,) = self._encoder.outputs([outputs], [len(rows)])
        except (TypeError, ValueError) as exc:  # a hook's output of a type of its own
            raise InferenceFailed(f"the outputs cannot be written as JSON: {exc}") from exc
        return [_Answered(RowAnswer(orjson.loads(each)), inputs) for each in encoded]
