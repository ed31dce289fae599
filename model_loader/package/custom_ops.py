"""onnxruntime-extensions: operators for text and images, available to a graph if it is installed."""

from importlib.util import find_spec
from typing import Any


def register_extensions(options: Any) -> None:
    """Register the operators of onnxruntime-extensions for sessions with these options, if it is installed.

    Args:
        options: ONNX Runtime's SessionOptions.
    """
    if find_spec("onnxruntime_extensions"):
        from onnxruntime_extensions import get_library_path

        options.register_custom_ops_library(get_library_path())
