"""Tensors of datatypes that NumPy does not have, as ONNX Runtime's OrtValues."""

import ctypes
from typing import Any

import numpy as np
import onnxruntime as ort

from app.tensors.datatypes import DATATYPES, Array

# Datatype → TensorProto.DataType, https://onnx.ai/onnx/api/mapping.html.
# NumPy has no such types, so ONNX Runtime's Python API exchanges these tensors only as raw bits in OrtValues.
RAW_DATATYPES = {
    "BF16": 16,
    "FP8E4M3FN": 17,
    "FP8E4M3FNUZ": 18,
    "FP8E5M2": 19,
    "FP8E5M2FNUZ": 20,
    "UINT4": 21,
    "INT4": 22,
}


def to_ort_value(value: Any, datatype: str) -> "ort.OrtValue":
    """Return an array as an OrtValue.

    Args:
        value: an array in the datatype's dtype, see `DATATYPES`; other values are returned unchanged.
        datatype: any key of `DATATYPES`.
    """
    if not isinstance(value, np.ndarray):
        return value
    if datatype not in RAW_DATATYPES:
        return ort.OrtValue.ortvalue_from_numpy(np.asarray(value, order="C"))
    bits = np.asarray(value, order="C").view(np.uint16 if datatype == "BF16" else np.uint8)
    if datatype.endswith("INT4"):
        bits = _pack_nibbles(bits)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, RAW_DATATYPES[datatype])


def from_ort_value(value: "ort.OrtValue", datatype: str) -> Array:
    """Return an OrtValue's tensor as an array in the datatype's dtype, see `DATATYPES`."""
    if datatype not in RAW_DATATYPES:
        array: Array = value.numpy()
        return array
    shape = tuple(value.shape())
    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes()) if np.prod(shape) else b""
    bits = np.frombuffer(raw, np.uint8)
    if datatype.endswith("INT4"):
        bits = _unpack_nibbles(bits)[: np.prod(shape, dtype=int)]
    return bits.view(DATATYPES[datatype]).reshape(shape)


def _pack_nibbles(nibbles: Array) -> Array:
    """Pack two four-bit numbers into each byte, the first in the low half.

    The result has the input's shape, since an OrtValue takes its shape from the array. Unused bytes are 0.
    """
    flat = np.zeros(nibbles.size + nibbles.size % 2, np.uint8)
    flat[: nibbles.size] = nibbles.ravel() & 0x0F
    packed = np.zeros(nibbles.size, np.uint8)
    packed[: flat.size // 2] = flat[0::2] | (flat[1::2] << 4)
    return packed.reshape(nibbles.shape)


def _unpack_nibbles(packed: Array) -> Array:
    return np.stack([packed & 0x0F, packed >> 4], axis=-1).ravel()
