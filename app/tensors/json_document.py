"""JSON documents, with a limit of their values.

https://www.rfc-editor.org/rfc/rfc8259, section 9: a parser may limit the size and depth of what it accepts
"""

from typing import Any

import numpy as np
import orjson

from app.errors import BodyTooLarge, InvalidRequest

_COMMA, _COLON, _BRACE = b",:{"
_CASE = 0x20  # the difference between `[` and `{`
_WINDOW_BYTES = 256 * 1024


def loads(body: bytes | bytearray | memoryview, max_values: int) -> Any:
    """Parse a document.

    Args:
        max_values: limit of the document's values, since a Python object takes up to 130 bytes for two bytes
            of JSON. Commas, colons and opening brackets are counted, also those in strings: a document has at
            most one value more.

    Raises:
        InvalidRequest: the body is not JSON.
        BodyTooLarge: the document may have more values.
    """
    if len(body) > max_values and count_values(body) > max_values:
        raise BodyTooLarge(
            f"expected JSON with at most {max_values} commas, colons and opening brackets, got more"
        )
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"the body is not JSON: {exc}") from exc


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
