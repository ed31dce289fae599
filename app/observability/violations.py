"""Violations of `schema.json`, counted by feature and rule."""

from collections import Counter
from collections.abc import Sequence

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge

from app.errors import InvalidRequest
from app.model.columns import Columns
from app.model.data_contract import DataContract, Violation
from app.model.served_model import ServedModel
from app.observability.request_record import RequestRecord


class Violations:
    """An observer that counts the values that violate a rule, and the refusals that are about a feature.

    Attributes:
        contract: the rules; None if the package has no schema. Refusals are counted all the same.
    """

    def __init__(
        self, model: ServedModel, contract: DataContract | None, registry: CollectorRegistry
    ) -> None:
        self.contract = contract
        self._columns = Columns(model)
        self._names = {*self._columns.names, *model.inputs} - {self._columns.wide}
        self._counter = prometheus_client.Counter(
            "model_schema_violations",
            "Values that violate a rule of schema.json, and requests refused because of a feature.",
            ("feature", "rule"),
            registry=registry,
        )
        if contract:
            allowed = Gauge(
                "model_schema_max_missing_ratio",
                "The share of a feature's values that may be missing.",
                ("feature",),
                registry=registry,
                multiprocess_mode="livemax",
            )
            for field in contract.features.values():
                if field.max_missing is not None:
                    allowed.labels(field.name).set(field.max_missing)

    def __call__(self, records: Sequence[RequestRecord]) -> None:
        """Count the violations of a batch of requests."""
        counts: Counter[Violation] = Counter()
        if self.contract and (requests := [each.given for each in records if each.given is not None]):
            counts += self.contract.count(requests)
        for record in records:
            if isinstance(record.error, InvalidRequest) and (name := self.feature_of(record.error)):
                counts[Violation(name, record.error.rule)] += 1
        for (name, rule), number in counts.items():
            self._counter.labels(name, rule).inc(number)

    def feature_of(self, error: InvalidRequest) -> str:
        """Return the feature that a refusal is about; empty if it is about none that the model has."""
        name = error.name
        if (
            name == self._columns.wide
            and error.column is not None
            and error.column < len(self._columns.names)
        ):
            name = self._columns.names[error.column]
        return name if name in self._names else ""
