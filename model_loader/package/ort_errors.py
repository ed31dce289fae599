"""ONNX Runtime's exceptions. Importing this module loads ONNX Runtime, so `model_loader.package` does not."""

from onnxruntime.capi import onnxruntime_pybind11_state as state

# ONNX Runtime's own exceptions have no common base but Exception; the last three are raised by pybind11.
ORT_ERRORS: tuple[type[Exception], ...] = (
    *(error for error in vars(state).values() if isinstance(error, type) and issubclass(error, Exception)),
    RuntimeError,
    ValueError,
    TypeError,
)
