"""Requests of the Open Inference Protocol and tables, with their arrays of numbers left out.

A large request is parsed in two steps, since the type of a tensor may follow its data: first the document
without the arrays of numbers, then each array, by `app.tensors.fast_json`.
"""

import re
import secrets
from dataclasses import dataclass
from typing import Any

from app.errors import InvalidRequest
from app.tensors import json_document
from app.tensors.datatypes import Array
from app.tensors.fast_json import Body, Dtype, end_of_numbers, parse_value

# A member of a tensor of the Open Inference Protocol, and of a table.
_DATA = b'"data"'
_VALUE = re.compile(rb"[ \t\n\r]*:[ \t\n\r]*(?=\[)")
_MAX_TENSORS = 1000  # a document with more is not supported
# Stands for an array in a document; no request can contain it by chance or by intention.
_PLACEHOLDER = f"{secrets.token_hex(16)}-%d"


@dataclass(frozen=True, slots=True)
class NumberText:
    """An array of numbers that has not been parsed, by its position in a document."""

    body: Body
    begin: int

    def parse(self, dtype: Dtype, max_size: int) -> Array:
        """Return the array in a type.

        Raises:
            InvalidRequest: it is larger, not JSON, or not certain to equal what orjson and `np.array` return.
        """
        try:
            return parse_value(self.body, self.begin, dtype, max_size)[0]
        except (TypeError, ValueError, RuntimeError) as exc:  # simdjson has no exception class of its own
            raise InvalidRequest("the data are not an array of numbers") from exc


def loads(body: Body, max_values: int) -> dict[str, Any] | None:
    """Parse a request, but for the arrays of numbers in `data`.

    Args:
        max_values: see `app.tensors.json_document`; of the rest of the document.

    Returns:
        the document, with a `NumberText` for each such array; None if orjson has to read all of it.

    Raises:
        BodyTooLarge: the rest of the document has too many values.
    """
    document, found = _without_numbers(body, max_values, _MAX_TENSORS)
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list):
        return None
    for tensor in document["inputs"]:
        data = tensor.get("data") if isinstance(tensor, dict) else None
        if isinstance(data, str) and data in found:
            tensor["data"] = found.pop(data)
    return None if found else document  # an array elsewhere would not be checked


def loads_table(body: Body, max_values: int) -> dict[str, Any] | None:
    """Parse a document of one table, but for the numbers in its `data`.

    The table is the document, or the only member of it.

    Args:
        max_values: see `app.tensors.json_document`; of the rest of the document.

    Returns:
        the document, with a `NumberText` for the numbers; None if orjson has to read all of it.

    Raises:
        BodyTooLarge: the rest of the document has too many values.
    """
    document, found = _without_numbers(body, max_values, 1)
    if not isinstance(document, dict):
        return None
    table = next(iter(document.values())) if len(document) == 1 else document
    data = table.get("data") if isinstance(table, dict) and "columns" in table else None
    if not isinstance(data, str) or data not in found:
        return None
    table["data"] = found[data]
    return document


def _without_numbers(body: Body, max_values: int, max_arrays: int) -> tuple[Any, dict[str, NumberText]]:
    """Parse a document, but for the arrays of numbers in members `data`.

    Returns:
        the document with a placeholder for each such array, and placeholder → array; None and an empty dict
        if there are none or more than `max_arrays`, or if the document is not JSON.

    Raises:
        BodyTooLarge: the rest of the document has too many values.
    """
    found: dict[str, NumberText] = {}
    parts: list[bytes | memoryview] = []
    view, copied, at = memoryview(body), 0, body.find(_DATA)
    while at >= 0 and len(found) <= max_arrays:
        value = _VALUE.match(body, at + len(_DATA))
        end = end_of_numbers(body, value.end()) if value and body[at - 1 : at] != b"\\" else 0
        if value and end:
            name = _PLACEHOLDER % len(found)
            found[name] = NumberText(body, value.end())
            parts += [view[copied : value.end()], b'"%b"' % name.encode()]
            copied = end
        at = body.find(_DATA, max(end, at + len(_DATA)))
    if not 0 < len(found) <= max_arrays:
        return None, {}
    try:
        return json_document.loads(b"".join((*parts, view[copied:])), max_values), found
    except InvalidRequest:
        return None, {}
