"""CSV with a header line, as `DataFrame.to_csv(index=False)` writes it.

https://www.rfc-editor.org/rfc/rfc4180
"""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf, isinf
from typing import Any

import numpy as np

from app.errors import BodyTooLarge, InvalidRequest
from app.protocols import table
from app.protocols.codec import Body
from app.tensors import fast_json
from app.tensors.datatypes import DATATYPES, INTEGERS
from app.tensors.from_json import inputs_from_json
from app.tensors.io_spec import preview
from model_loader.package import TensorSpec

MEDIA_TYPE = "text/csv"
_CHARSETS = {"utf-8", "utf8", "us-ascii"}
_COMMA, _LF, _CR = b",\n\r"
_WINDOW_BYTES = 256 * 1024

_DIGITS = b"0123456789+-"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_MINUS_ZERO = re.compile(rb"-0\b(?!\.)")
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
# JSON's spellings, and those of pandas and NumPy.
_NON_FINITE = {
    **dict.fromkeys(("", "NaN", "nan"), "NaN"),
    **dict.fromkeys(("Infinity", "inf"), "Infinity"),
    **dict.fromkeys(("-Infinity", "-inf"), "-Infinity"),
}
_BOOLEANS = {"true": True, "false": False, "True": True, "False": False}


def read(
    body: Body,
    content_type: str,
    specs: Mapping[str, TensorSpec],
    features: Sequence[str] | None,
    max_values: int,
) -> tuple[dict[str, Any], int]:
    """Return the inputs, and the number of rows.

    Args:
        body: CSV in UTF-8; its first line has the columns' names. Blank lines are skipped.
        content_type: with a charset, perhaps.
        specs: the model's inputs.
        features: column names of the single two-dimensional input, if the model has them.
        max_values: limit of the fields, since each becomes a Python object.

    Raises:
        InvalidRequest: the body is not CSV, or does not fit the inputs.
        BodyTooLarge: the body has too many fields.
    """
    _check_charset(content_type)
    if len(body) >= fast_json.LARGE_BYTES and (found := _read_numbers(body, specs, features)):
        return found
    header, rows = _rows(body, max_values)
    positions = _layout(header, specs, features)
    by_column: dict[int, TensorSpec] = {}
    for name, position in positions.items():
        by_column |= dict.fromkeys([position] if isinstance(position, int) else position, specs[name])
    fields = [*zip(*rows, strict=True)] or [()] * len(header)
    columns = [_values(fields[at], header[at], by_column[at]) for at in range(len(header))]
    values = {
        name: columns[position]
        if isinstance(position, int)
        else [*zip(*(columns[at] for at in position), strict=True)]
        for name, position in positions.items()
    }
    return inputs_from_json(values, specs, is_rows=True), len(rows)


def check_header(line: bytes, specs: Mapping[str, TensorSpec], features: Sequence[str] | None) -> None:
    """Check the header line of a table without its rows.

    Raises:
        InvalidRequest: it is not CSV, or its columns do not fit the inputs.
    """
    header, _ = _rows(line, len(line))
    _layout(header, specs, features)


def _read_numbers(
    body: Body, specs: Mapping[str, TensorSpec], features: Sequence[str] | None
) -> tuple[dict[str, Any], int] | None:
    """Return the same as `read` for a large table of numbers, read as JSON without an object for each.

    None if it is anything else, or does not fit: it is then read as any table, and the error names the field.
    """
    data = bytes(body)
    begin = data.find(b"\n") + 1
    numbers = data[begin:].strip(b"\r\n").replace(b"\r\n", b"\n")
    # JSON allows spaces and brackets, which are part of a field here, and its integer -0 has no sign.
    if numbers.translate(None, _DIGITS + b".eE,\n") or _MINUS_ZERO.search(numbers):
        return None
    try:
        (header,) = csv.reader([str(data[:begin], "utf-8-sig")], strict=True)
        positions = _layout(header, specs, features)
        (datatype,) = {specs[name].datatype for name in positions}
        # Millions of rows that are too short become a document that is several times as large.
        if numbers.count(b",") != (len(header) - 1) * (numbers.count(b"\n") + 1):
            return None
        document = b"[[%b]]" % numbers.replace(b"\n", b"],[")
        rows, end = fast_json.parse_value(document, 0, DATATYPES[datatype])
        if end != len(document) or rows.ndim != 2 or rows.shape[1] != len(header):
            return None
        values = table.values_of_rows(rows, positions)
        return inputs_from_json(values, specs, all_numeric=True, is_rows=True), len(rows)
    except (InvalidRequest, KeyError, TypeError, ValueError, RuntimeError, csv.Error):
        return None


def _check_charset(content_type: str) -> None:
    charset = content_type.lower().partition("charset=")[2].partition(";")[0].strip().strip('"') or "utf-8"
    if charset not in _CHARSETS:
        raise InvalidRequest(f"expected CSV in UTF-8, got charset {preview(charset)}")


def _rows(body: Body, max_values: int) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows, all of the header's length."""
    if len(body) > max_values and _count_fields(body) > max_values:
        raise BodyTooLarge(f"expected CSV with at most {max_values} commas and line ends, got more")
    try:
        text = str(body, "utf-8").removeprefix("\ufeff")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header, *rows = [row for row in reader if row]
    except UnicodeDecodeError as exc:
        raise InvalidRequest(
            f"expected CSV in UTF-8, got the byte {body[exc.start]:#04x} at {exc.start}"
        ) from exc
    except csv.Error as exc:
        raise InvalidRequest(f"the body is not CSV: {exc}") from exc
    except ValueError as exc:
        raise InvalidRequest("the body is empty; expected CSV with a header line") from exc
    if not {*map(len, rows)} <= {len(header)}:
        index = next(index for index, row in enumerate(rows) if len(row) != len(header))
        raise InvalidRequest(
            f"row {index}: expected {len(header)} fields as in the header line, got {len(rows[index])}"
        )
    return header, rows


def _count_fields(body: Body) -> int:
    """Return the number of commas and line ends."""
    text = np.frombuffer(body, np.uint8)
    count = 0
    # NumPy lets other threads run meanwhile, which `bytes.count` does not.
    for begin in range(0, len(text), _WINDOW_BYTES):
        window = text[begin : begin + _WINDOW_BYTES]
        count += int(np.count_nonzero((window == _COMMA) | (window == _LF) | (window == _CR)))
    return count


def _layout(
    header: Sequence[str], specs: Mapping[str, TensorSpec], features: Sequence[str] | None
) -> table.Layout:
    """Return where the inputs are; see `app.protocols.table.layout`.

    Raises:
        InvalidRequest: the names do not fit, or have no meaning and are numbers: the header line is missing.
    """
    positions = table.layout(header, specs, features)
    is_by_order = any(isinstance(position, range) for position in positions.values())
    # pandas numbers columns that have no names.
    is_numbered = [*header] == [*map(str, range(len(header)))]
    if is_by_order and not is_numbered and all(map(_NUMBER.fullmatch, header)):
        got = preview(",".join(header))
        raise InvalidRequest(f"expected a header line with the names of the columns, got {got}")
    return positions


def _values(fields: Sequence[str], column: str, spec: TensorSpec) -> list[Any]:
    """Return a column's fields as JSON values of the input's datatype."""
    if spec.datatype not in DATATYPES:
        raise InvalidRequest(f"input '{spec.name}': {spec.datatype} cannot be written as CSV; use JSON")
    if values := _numbers(fields, spec.datatype):
        return values
    convert = _converter(spec.datatype)
    values = []
    try:
        values.extend(map(convert, fields))
    except (KeyError, ValueError) as exc:
        field = fields[len(values)]
        got = preview(field) if field else "an empty field; only floats may be missing"
        raise InvalidRequest(
            f"row {len(values)}, column {preview(column)}: expected {spec.datatype}, got {got}"
        ) from exc
    return values


def _numbers(fields: Sequence[str], datatype: str) -> list[Any] | None:
    """Return a column of finite numbers, missing floats as None; None if it is anything else.

    This is fast; Python's `int` and `float` accept more than digits, which the check of the bytes excludes.
    """
    digits = "".join(fields).encode()
    if datatype in INTEGERS:
        with suppress(ValueError):
            return None if digits.translate(None, _DIGITS) else [*map(int, fields)]
    elif datatype not in ("BOOL", "STRING"):
        with suppress(ValueError):
            if not digits.translate(None, _DIGITS + b".eE"):
                values = [float(field) if field else None for field in fields]
                return None if inf in values or -inf in values else values
    return None


def _converter(datatype: str) -> Callable[[str], Any]:
    """Return a function that converts a field to a JSON value; it raises KeyError or ValueError."""
    if datatype == "STRING":
        return _string
    if datatype == "BOOL":
        return _BOOLEANS.__getitem__
    return _integer if datatype in INTEGERS else _float


def _string(field: str) -> str:
    if not field:
        raise ValueError
    return field


def _integer(field: str) -> int | float:
    """Return an integer, or a number with a decimal point, which must be integral to fit."""
    if _INTEGER.fullmatch(field):
        return int(field)
    if not _NUMBER.fullmatch(field):
        raise ValueError
    return float(field)


def _float(field: str) -> float | str:
    if not _NUMBER.fullmatch(field):
        return _NON_FINITE[field]
    number = float(field)
    if isinf(number):  # Python reads 1e400 as infinity, JSON's parsers refuse it
        raise ValueError
    return number
