"""onnxruntime-extensions: operators for text and images, which a graph may use where it is installed."""

from importlib.util import find_spec
from typing import Any

DOMAIN = "com.microsoft.extensions"


def register_extensions(options: Any) -> None:
    """Makes its operators known to sessions with these options; does nothing where it is not installed.

    Args:
        options: ONNX Runtime's SessionOptions.
    """
    if find_spec("onnxruntime_extensions"):
        from onnxruntime_extensions import get_library_path

        options.register_custom_ops_library(get_library_path())


def explain(error: Exception) -> str:
    """What ONNX Runtime says of a model that it cannot load, and which package is missing, if that is it."""
    if DOMAIN in str(error) and not find_spec("onnxruntime_extensions"):
        return f"{error}; its operators come with onnxruntime-extensions, which is not installed"
    return str(error)
