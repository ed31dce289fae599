"""Tensors as bytes: little-endian numbers in C order, and strings that follow their lengths.

https://github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md
"""

import struct

import numpy as np

from app.errors import InvalidRequest
from app.tensors.datatypes import DATATYPES, Array, elements_of
from model_loader.package import TensorSpec

# Bytes, as NumPy aligns its own arrays. Kernels may round differently on data with another alignment, so the
# outputs would depend on the length of the JSON before the data.
ALIGNMENT = 16


def from_bytes(data: memoryview, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Return the tensor in its bytes, which are little-endian in C order.

    Aligned bytes are not copied, except for strings.

    Raises:
        InvalidRequest: the number of bytes does not fit the shape, or a boolean is neither 0 nor 1.
    """
    count = elements_of(shape) or 0
    if spec.datatype == "STRING":
        return np.array(_strings(data, spec, count), object).reshape(shape)
    dtype = DATATYPES[spec.datatype]
    if len(data) != count * dtype.itemsize:
        raise InvalidRequest(
            f"input '{spec.name}': expected {count * dtype.itemsize} bytes for shape {list(shape)}, "
            f"got {len(data)}"
        )
    array: Array = np.frombuffer(data, np.uint8 if spec.datatype == "BOOL" else dtype)
    if array.ctypes.data % ALIGNMENT:
        array = array.copy()
    if spec.datatype == "BOOL":
        if (array > 1).any():
            raise InvalidRequest(f"input '{spec.name}': expected booleans of 0 or 1, got {array.max()}")
        array = array.view(np.bool_)
    return array.reshape(shape)


def _strings(data: memoryview, spec: TensorSpec, count: int) -> list[str]:
    """Return the elements, each of which follows its length in four bytes."""
    elements: list[str] = []
    begin = 0
    while begin < len(data):
        end = begin + 4
        if end <= len(data):
            begin, end = end, end + struct.unpack_from("<I", data, begin)[0]
        if end > len(data):
            raise InvalidRequest(f"input '{spec.name}': element {len(elements)} extends beyond the data")
        try:
            elements.append(str(data[begin:end], "utf-8"))
        except UnicodeDecodeError as exc:
            raise InvalidRequest(f"input '{spec.name}': element {len(elements)} is not UTF-8") from exc
        begin = end
    if len(elements) != count:
        raise InvalidRequest(f"input '{spec.name}': expected {count} elements, got {len(elements)}")
    return elements


def to_bytes(array: Array) -> bytes:
    """Return a tensor's elements as bytes; the reverse of `from_bytes`."""
    if array.dtype.kind not in "OUS":
        return array.tobytes()
    encoded = [str(element).encode() for element in array.ravel()]
    return b"".join(part for data in encoded for part in (struct.pack("<I", len(data)), data))
