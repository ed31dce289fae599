"""Arrays in NumPy's own format.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import io
import re
import struct
from typing import Any

import numpy as np
from numpy.lib import format as npy

from app.errors import InvalidRequest
from app.tensors.datatypes import DATATYPES, Array, elements_of
from app.tensors.io_spec import invalid_input
from model_loader.package import TensorSpec

MEDIA_TYPE = "application/x-npy"
# As NumPy writes it. Its own reader takes more, and raises whatever Python's parser does.
_HEADER = re.compile(
    r"\{'descr': '([<>=|]?[A-Za-z]\d{0,9})', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \}\s*\n"
)
# Version → the format of the header's length.
_LENGTHS = {1: "<H", 2: "<I", 3: "<I"}


def read(body: bytes | memoryview, spec: TensorSpec) -> Array:
    """The array in a file's bytes, not copied where it is in the model's order.

    Raises:
        InvalidRequest: it is not one array in this format and of the model's type; pickles are refused.
    """
    try:
        shape, is_fortran, dtype, begin = _header(body)
    except (ValueError, LookupError, TypeError, struct.error) as exc:
        raise InvalidRequest("the body is not an array in NumPy's format") from exc
    if dtype.hasobject:
        raise InvalidRequest("the body holds pickled objects, which are not read")
    expected = DATATYPES.get(spec.datatype)
    # NumPy writes types that are not its own, such as bfloat16, as bytes without a name.
    is_same = dtype == expected or (dtype.kind == "V" and expected and str(dtype) == f"|V{expected.itemsize}")
    is_text = spec.datatype == "STRING" and dtype.kind == "U" and dtype.itemsize
    if not is_text and not is_same:
        raise invalid_input(spec, f"an array of {dtype}")
    count = elements_of(shape)
    if count is None or len(body) - begin != count * dtype.itemsize:
        raise invalid_input(spec, f"{len(body) - begin} bytes for shape {list(shape)}")
    array: Array = np.frombuffer(body, dtype if is_text else expected, offset=begin)
    array = array.reshape(shape, order="F" if is_fortran else "C")
    return array.astype(object) if is_text else np.asarray(array, order="C")


def _header(body: bytes | memoryview) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether columns come first, type, and where the data begin.

    Raises:
        ValueError, LookupError, TypeError, struct.error: it is no header that NumPy writes.
    """
    length = _LENGTHS[body[6]]
    (size,) = struct.unpack_from(length, body, 8)
    begin = 8 + struct.calcsize(length)
    match = _HEADER.fullmatch(str(body[begin : begin + size], "latin-1"))
    if body[:6] != npy.MAGIC_PREFIX or match is None:
        raise ValueError
    shape = tuple(int(part) for part in match[3].split(",") if part.strip())
    return shape, match[2] == "True", np.dtype(match[1]), begin + size


def write(array: Array) -> bytes:
    """The bytes of the file that `numpy.save` would make; strings as NumPy's own, of one length."""
    stream = io.BytesIO()
    npy.write_array(stream, array.astype(np.str_) if array.dtype.kind == "O" else array, allow_pickle=False)
    return stream.getvalue()
