"""The values of a row as the spool keeps them, in JSON: only what `schema.json` allows.

NumPy arrays are serialized as a whole, and the text is divided into rows: an object for each number would
take three times as long. A float32 has as few digits as it needs, and NaN is null.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import orjson

from app.model.columns import Column, Columns, by_row, count_rows
from app.model.served_model import ServedModel
from app.observability.logging import to_utf8
from app.tensors.datatypes import Array
from app.tensors.to_json import to_json
from model_loader.package.hashed_values import hash_value
from model_loader.package.schema import FieldSchema, Schema

ENCODING = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS

Values = Mapping[str, Any]


class RowEncoder:
    """Encodes inputs and outputs as far as they may be recorded."""

    def __init__(
        self, model: ServedModel, schema: Schema | None, max_elements: int, hash_key: bytes | None
    ) -> None:
        """
        Args:
            max_elements: of a row's tensor; of a larger one its shape and digest are recorded.
            hash_key: of the hashes that replace values with `pii: hash`.
        """
        self._columns = Columns(model)
        self._features: Mapping[str, FieldSchema] = schema.features if schema else {}
        self._outputs: Mapping[str, FieldSchema] = schema.outputs if schema else {}
        self._max_elements = max_elements
        self._hash_key = hash_key

    def inputs(self, requests: Sequence[Values]) -> list[list[bytes]]:
        """Return the features of each row of each request, as objects in JSON.

        Raises:
            TypeError, ValueError: a value cannot be encoded.
        """
        rows = [count_rows(values) for values in requests]
        return [*self._encode(requests, rows, self._columns.features, self._features)]

    def outputs(self, responses: Sequence[Values], rows: Sequence[int]) -> list[list[bytes]]:
        """Return the outputs of each row of each response, as `inputs`.

        Args:
            rows: number of rows of each response.
        """
        return [*self._encode(responses, rows, _output_columns, self._outputs)]

    def _encode(
        self,
        requests: Sequence[Values],
        rows: Sequence[int],
        columns: Callable[[Values, int], Mapping[str, Column]],
        fields: Mapping[str, FieldSchema],
    ) -> Iterator[list[bytes]]:
        """Yield the rows of each request; consecutive ones with the same columns are encoded together."""
        for signature, group in groupby(zip(requests, rows, strict=True), lambda pair: _signature(*pair)):
            pairs = [*group]
            if signature is None or len(pairs) == 1:
                for values, count in pairs:
                    yield self._rows(columns(values, count), fields, count)
                continue
            # Ordered by column, as they are encoded.
            merged = {
                name: np.asfortranarray(np.concatenate([values[name] for values, _ in pairs]))
                for name in pairs[0][0]
            }
            counts = [count for _, count in pairs]
            encoded = iter(self._rows(columns(merged, sum(counts)), fields, sum(counts)))
            for count in counts:
                yield [next(encoded) for _ in range(count)]

    def _rows(
        self, columns: Mapping[str, Column], fields: Mapping[str, FieldSchema], rows: int
    ) -> list[bytes]:
        kept = {name: column for name, column in columns.items() if _is_kept(fields.get(name))}
        if not kept or not rows:
            return [b"{}"] * rows
        template = _template(tuple(kept))
        values = [self._values(column, fields.get(name)) for name, column in kept.items()]
        return [template % row for row in zip(*values, strict=True)]

    def _values(self, column: Column, field: FieldSchema | None) -> list[bytes]:
        """Return the value of each row in JSON."""
        if field and field.pii == "hash":
            return [encode(self._hashed(value)) for value in column]
        if isinstance(column, np.ndarray):
            if column.dtype.kind in "fiub" and column.ndim == 1:
                return encode(np.ascontiguousarray(column))[1:-1].split(b",")
            if column.dtype.kind in "fiub" and column.ndim == 2 and 0 < column.shape[1] <= self._max_elements:
                lists = encode(np.ascontiguousarray(column))[2:-2].split(b"],[")
                return [b"[%b]" % values for values in lists]
            if column.dtype.kind == "O" and column.ndim == 1:
                return [encode(value) for value in column.tolist()]
        return [encode(self._value(value)) for value in column]

    def _value(self, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.size > self._max_elements:
            return _digest(value)
        return to_json(value, finite=True)

    def _hashed(self, value: Any) -> Any:
        """Return the keyed hash of a value, None for a missing one; of several values, that of each."""
        if isinstance(value, np.ndarray) and value.size > self._max_elements:
            value = _digest(value)["sha256"]
        if isinstance(value, dict):
            return {key: self._hashed(each) for key, each in value.items()}
        if isinstance(value, list | np.ndarray):
            return [self._hashed(each) for each in value]
        if value is None or value != value or self._hash_key is None:
            return None
        return hash_value(self._hash_key, value)


def encode(value: Any) -> bytes:
    """Return a value in JSON.

    Raises:
        TypeError: JSON cannot express it.
    """
    try:
        return orjson.dumps(value, option=ENCODING)
    except orjson.JSONEncodeError:  # a hook's lone surrogate, which UTF-8 cannot express
        return orjson.dumps(_escaped(value), option=ENCODING)


def _output_columns(outputs: Values, rows: int) -> dict[str, Column]:
    return {name: by_row(value, rows) for name, value in outputs.items()}


def _signature(values: Values, rows: int) -> tuple[tuple[Any, ...], ...] | None:
    """Return what requests that are encoded together have in common; None for one that is encoded alone."""
    parts = []
    for name, value in values.items():
        if not isinstance(value, np.ndarray) or not value.ndim or len(value) != rows:
            return None
        parts.append((name, value.dtype, value.shape[1:]))
    return tuple(parts)


@lru_cache(maxsize=64)
def _template(names: tuple[str, ...]) -> bytes:
    """Return the format of an object with these names."""
    keys = [encode(name).replace(b"%", b"%%") for name in names]
    return b"{%b}" % b",".join(key + b":%b" for key in keys)


def _is_kept(field: FieldSchema | None) -> bool:
    return field is None or field.capture


def _digest(value: Array) -> dict[str, Any]:
    content = np.ascontiguousarray(value)
    data = (
        content.tobytes()
        if content.dtype.kind != "O"
        else repr(content.tolist()).encode(errors="surrogatepass")
    )
    return {"shape": list(value.shape), "sha256": hashlib.sha256(data).hexdigest()}


def _escaped(value: Any) -> Any:
    """Return a JSON value with lone surrogates escaped."""
    if isinstance(value, str):
        return to_utf8(value).decode()
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value
