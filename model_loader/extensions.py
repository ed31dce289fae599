"""onnxruntime-extensions: operators for text and images, which a graph may use where it is installed."""

from importlib.util import find_spec
from typing import Any


def register_extensions(options: Any) -> None:
    """Makes its operators known to sessions with these options; does nothing where it is not installed.

    Args:
        options: ONNX Runtime's SessionOptions.
    """
    if find_spec("onnxruntime_extensions"):
        from onnxruntime_extensions import get_library_path

        options.register_custom_ops_library(get_library_path())
