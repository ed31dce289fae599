"""What the log may have of a request if `schema.json` withholds a column: no value of it, in no message."""

from collections.abc import Callable, Mapping
from traceback import format_tb
from typing import Any

from app.errors import InvalidRequest, RequestError
from app.model.columns import Columns, by_row, count_rows
from app.model.served_model import ServedModel
from app.observability.request_record import RequestRecord
from model_loader.package.schema import Schema, withheld


class Withheld:
    """Removes the values of columns that may not be recorded, or only as a hash."""

    def __init__(
        self, schema: Schema | None, model: ServedModel, feature_of: Callable[[InvalidRequest], str]
    ) -> None:
        """
        Args:
            feature_of: returns the feature that a refusal is about, or an empty name.
        """
        self._columns = Columns(model)
        self._features = withheld(schema.features if schema else {})
        self._outputs = withheld(schema.outputs if schema else {})
        self._feature_of = feature_of

    def __bool__(self) -> bool:
        """Return whether any column is withheld."""
        return bool(self._features or self._outputs)

    def inputs(self, record: RequestRecord) -> Mapping[str, Any] | None:
        """Return the features of a request that may be recorded, as they were sent."""
        if record.given is None:
            return None
        columns = self._columns.features(record.given, count_rows(record.given))
        return {name: column for name, column in columns.items() if name not in self._features}

    def outputs(self, record: RequestRecord) -> Mapping[str, Any] | None:
        """Return the outputs of an answer that may be recorded, as they were sent."""
        if record.answer is None:
            return None
        rows = count_rows(record.answer)
        return {
            name: by_row(value, rows) for name, value in record.answer.items() if name not in self._outputs
        }

    def message(self, error: RequestError) -> str:
        """Return an error's message; without it, if it may have a value that is withheld."""
        if isinstance(error, InvalidRequest):
            name = self._feature_of(error)
            if name and name not in self._features:
                return str(error)
            about = f"feature '{name}', rule {error.rule}" if name else "the body"
            return f"refused because of {about}; the message is withheld, as schema.json withholds a column"
        if error.status == 500:
            return "failed; the message is withheld, as schema.json withholds a column"
        return str(error)


def traceback_without_message(exc: BaseException) -> str:
    """Return where an exception was raised, and its type."""
    return "".join(format_tb(exc.__traceback__)) + type(exc).__name__
