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
# The header as NumPy writes it. NumPy's own reader evaluates any Python literal, and raises whatever Python's
# parser raises.
_HEADER = re.compile(
    r"\{'descr': '([<>=|]?[A-Za-z]\d{0,9})', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \}\s*\n"
)
# Version of the format → `struct` format of the header's length.
_LENGTHS = {1: "<H", 2: "<I", 3: "<I"}


def read(body: bytes | bytearray | memoryview, spec: TensorSpec) -> Array:
    """Return the array in a file's bytes, without a copy if it is in C order.

    Raises:
        InvalidRequest: the bytes are not an array in this format, contain pickled objects, or are not of the
            input's datatype.
    """
    try:
        shape, is_fortran, dtype, begin = _parse_header(body)
    except (ValueError, LookupError, TypeError, struct.error) as exc:
        raise InvalidRequest("the body is not an array in NumPy's format") from exc
    if dtype.hasobject:
        raise InvalidRequest("the body contains pickled objects, which are not supported")
    expected = DATATYPES.get(spec.datatype)
    # NumPy writes extension types such as bfloat16 as unnamed bytes.
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


def _parse_header(body: bytes | bytearray | memoryview) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return the shape, whether the order is Fortran's, the dtype, and the offset of the data.

    Raises:
        ValueError, LookupError, TypeError, struct.error: the header is not one that NumPy writes.
    """
    length_format = _LENGTHS[body[6]]
    (size,) = struct.unpack_from(length_format, body, 8)
    begin = 8 + struct.calcsize(length_format)
    match = _HEADER.fullmatch(str(body[begin : begin + size], "latin-1"))
    if body[:6] != npy.MAGIC_PREFIX or match is None:
        raise ValueError
    shape = tuple(int(part) for part in match[3].split(",") if part.strip())
    return shape, match[2] == "True", np.dtype(match[1]), begin + size


def write(array: Array) -> bytes:
    """Return the array in the format of `numpy.save`; strings become NumPy's fixed-length strings."""
    stream = io.BytesIO()
    npy.write_array(stream, array.astype(np.str_) if array.dtype.kind == "O" else array, allow_pickle=False)
    return stream.getvalue()
