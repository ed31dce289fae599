"""onnxruntime-extensions: operators for text and images, available to a graph if it is installed."""

from importlib.util import find_spec
from typing import Any

DOMAIN = "com.microsoft.extensions"


def register_extensions(options: Any) -> None:
    """Register the operators of onnxruntime-extensions for sessions with these options, if it is installed.

    Args:
        options: ONNX Runtime's SessionOptions.
    """
    if find_spec("onnxruntime_extensions"):
        from onnxruntime_extensions import get_library_path

        options.register_custom_ops_library(get_library_path())


def explain(error: Exception) -> str:
    """Return the message of ONNX Runtime's exception, with a hint if onnxruntime-extensions is missing."""
    if DOMAIN in str(error) and not find_spec("onnxruntime_extensions"):
        return f"{error}; its operators are part of onnxruntime-extensions, which is not installed"
    return str(error)
