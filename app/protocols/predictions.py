"""Responses by output name, or one object a row.

https://www.tensorflow.org/tfx/serving/api_rest, "Predict API"; MLflow's responses are the same by row.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from app.errors import InvalidRequest
from app.protocols.codec import Encoded
from app.tensors.to_json import SLICE_ELEMENTS, append_json, is_larger, to_json

# Of a large response in the row form; each row takes half a kilobyte of Python objects.
SLICE_ROWS = 4096


class ReplyForm(NamedTuple):
    """How a protocol writes the model's outputs.

    Attributes:
        columns: the member with the outputs of a columnar request.
        is_named: whether the output has its name even if there is only one.
    """

    columns: str = "outputs"
    is_named: bool = True


def encode(
    form: ReplyForm, rows: int | None, outputs: Mapping[str, Any], about: Mapping[str, str]
) -> Encoded:
    """Encode the response; see `app.protocols.codec.DecodedRequest`.

    Args:
        rows: number of instances; None if the request was columnar.

    Raises:
        InvalidRequest: an output does not have one element per instance, so it cannot be split into rows.
    """
    response = _response(form, rows, outputs, about, finite=True)
    if b"null" in response:  # a number may not be finite: check all of them
        del response
        response = _response(form, rows, outputs, about, finite=False)
    return {}, response


def encode_rows(rows: int, outputs: Mapping[str, Any]) -> list[bytes]:
    """Return what `encode` writes for each instance under `predictions`.

    Args:
        rows: number of instances.

    Raises:
        InvalidRequest: an output does not have one element per instance.
    """
    lines = _lines(_predictions(rows, outputs, is_bare=False, finite=True))
    if b"null" in b"".join(lines):  # a number may not be finite: check all of them
        lines = _lines(_predictions(rows, outputs, is_bare=False, finite=False))
    return lines


def _lines(predictions: Sequence[Any]) -> list[bytes]:
    return [orjson.dumps(each, option=orjson.OPT_SERIALIZE_NUMPY) for each in predictions]


def _response(
    form: ReplyForm, rows: int | None, outputs: Mapping[str, Any], about: Mapping[str, str], *, finite: bool
) -> bytes | bytearray:
    if is_larger(outputs.values(), SLICE_ELEMENTS):
        return _large_response(form, rows, outputs, about, finite=finite)
    is_bare = not form.is_named and len(outputs) == 1
    response: dict[str, Any]
    if rows is None:
        values: Any = {name: to_json(value, finite=finite) for name, value in outputs.items()}
        if is_bare:
            (values,) = values.values()
        response = {form.columns: values, **about}
    else:
        predictions = _predictions(rows, outputs, is_bare=is_bare, finite=finite)
        response = {"predictions": predictions, **about}
    return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)


def _large_response(
    form: ReplyForm, rows: int | None, outputs: Mapping[str, Any], about: Mapping[str, str], *, finite: bool
) -> bytearray:
    """Return the same as `_response`, written in slices to bound the memory for Python objects."""
    is_bare = not form.is_named and len(outputs) == 1
    if rows is None:
        text = bytearray(b'{"%b":' % form.columns.encode())
        text += b"" if is_bare else b"{"
        for name, value in outputs.items():
            text += b"" if is_bare else orjson.dumps(name) + b":"
            append_json(text, value, finite=finite)
            text += b","
        text[-1:] = b"," if is_bare else b"},"
    else:
        text = bytearray(b'{"predictions":[')
        _check_rows(rows, outputs)
        for begin in range(0, rows, SLICE_ROWS):
            end = min(rows, begin + SLICE_ROWS)
            part = {name: value[begin:end] for name, value in outputs.items()}
            predictions = _predictions(end - begin, part, is_bare=is_bare, finite=finite)
            text += orjson.dumps(predictions, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] + b","
        text[-1:] = b"],"
    text += orjson.dumps(about)[1:]
    return text


def _predictions(rows: int, outputs: Mapping[str, Any], *, is_bare: bool, finite: bool) -> list[Any]:
    """Return the outputs as one object for each instance; its bare value if there is one output."""
    _check_rows(rows, outputs)
    columns = [_per_instance(to_json(value, finite=finite)) for value in outputs.values()]
    if is_bare:
        return columns[0]
    return [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]


def _check_rows(rows: int, outputs: Mapping[str, Any]) -> None:
    for name, value in outputs.items():
        has_rows = value.ndim > 0 if isinstance(value, np.ndarray) else isinstance(value, list)
        if not has_rows or len(value) != rows:
            raise InvalidRequest(
                f"output '{name}' does not have one element per instance: use 'inputs' instead"
            )


def _per_instance(value: Any) -> list[Any]:
    """Return an output as a list with one element per instance."""
    # Floats remain NumPy scalars: as Python's, a 32-bit float would be written with the digits of a double.
    return value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind != "f" else list(value)
