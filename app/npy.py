"""Arrays in NumPy's own format.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import io

import numpy as np
from numpy.lib import format as npy

from app.errors import InvalidRequest
from app.signature import refusal
from app.tensors import DATATYPES, Array, elements_of
from model_loader.package import TensorSpec

MEDIA_TYPE = "application/x-npy"
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read(body: bytes, spec: TensorSpec) -> Array:
    """The array in a file's bytes, not copied where it is in the model's order.

    Raises:
        InvalidRequest: it is not one array in this format and of the model's type; pickles are refused.
    """
    stream = io.BytesIO(body)
    try:
        shape, is_fortran, dtype = _READERS[npy.read_magic(stream)](stream)
    except (ValueError, KeyError, RecursionError) as exc:
        raise InvalidRequest(f"the body is not an array in NumPy's format: {exc}") from exc
    if dtype.hasobject:
        raise InvalidRequest("the body holds pickled objects, which are not read")
    expected = DATATYPES.get(spec.datatype)
    # NumPy writes types that are not its own, such as bfloat16, as bytes without a name.
    is_same = dtype == expected or (dtype.kind == "V" and expected and str(dtype) == f"|V{expected.itemsize}")
    is_text = spec.datatype == "STRING" and dtype.kind == "U" and dtype.itemsize
    if not is_text and not is_same:
        raise refusal(spec, f"an array of {dtype}")
    begin, count = stream.tell(), elements_of(shape)
    if count is None or len(body) - begin != count * dtype.itemsize:
        raise refusal(spec, f"{len(body) - begin} bytes for shape {list(shape)}")
    array: Array = np.frombuffer(body, dtype if is_text else expected, offset=begin)
    array = array.reshape(shape, order="F" if is_fortran else "C")
    return array.astype(object) if is_text else np.asarray(array, order="C")


def write(array: Array) -> bytes:
    """The bytes of the file that `numpy.save` would make; strings as NumPy's own, of one length."""
    stream = io.BytesIO()
    npy.write_array(stream, array.astype(np.str_) if array.dtype.kind == "O" else array, allow_pickle=False)
    return stream.getvalue()
