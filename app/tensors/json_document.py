"""JSON documents, with a limit of their values.

https://www.rfc-editor.org/rfc/rfc8259, section 9: a parser may limit the size and depth of what it accepts
"""

import codecs
import re
from typing import Any

import numpy as np
import orjson

from app.errors import BodyTooLarge, InvalidRequest

_COMMA, _COLON, _BRACE = b",:{"
_CASE = 0x20  # the difference between `[` and `{`
_WINDOW_BYTES = 256 * 1024
# What Python's `json` writes for numbers that JSON does not have. orjson's position may be after the sign.
_NOT_JSON = re.compile(r"-?(NaN|Infinity)\b")


def loads(body: bytes | bytearray | memoryview, max_values: int) -> Any:
    """Parse a document; a byte order mark before it is skipped.

    Args:
        max_values: limit of the document's values, since a Python object takes up to 130 bytes for two bytes
            of JSON. Commas, colons and opening brackets are counted, also those in strings: a document has at
            most one value more.

    Raises:
        InvalidRequest: the body is not JSON.
        BodyTooLarge: the document may have more values.
    """
    if body[:3] == codecs.BOM_UTF8:
        body = memoryview(body)[3:]
    if len(body) > max_values and count_values(body) > max_values:
        raise BodyTooLarge(
            f"expected JSON with at most {max_values} commas, colons and opening brackets, got more"
        )
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"the body is not JSON: {exc}{_advice(exc)}") from exc


def _advice(error: orjson.JSONDecodeError) -> str:
    """Return how to spell what is not JSON, if that is known."""
    for begin in (error.pos - 1, error.pos):
        if begin >= 0 and (match := _NOT_JSON.match(error.doc, begin)):
            return f'; JSON has no {match[0]}: write "{match[0]}" as a string, or null for a missing value'
    return ""


def count_values(body: bytes | bytearray | memoryview) -> int:
    """Return the number of commas, colons and opening brackets."""
    text = np.frombuffer(body, np.uint8)
    count = 0
    # NumPy lets other threads run meanwhile, which `bytes.count` does not.
    for begin in range(0, len(text), _WINDOW_BYTES):
        window = text[begin : begin + _WINDOW_BYTES]
        is_value = (window == _COMMA) | (window == _COLON) | (window | _CASE == _BRACE)
        count += int(np.count_nonzero(is_value))
    return count
