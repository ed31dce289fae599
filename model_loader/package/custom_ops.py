"""onnxruntime-extensions: operators for text and images, available to a graph if it is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from model_loader.package.onnx_file import opset_domains

# The package's converters write the first one.
DOMAINS = {b"ai.onnx.contrib", b"com.microsoft.extensions"}


def register_extensions(options: Any, model: Path) -> None:
    """Register the operators of onnxruntime-extensions if a model has some of them and it is installed.

    Importing it can take seconds: it imports torch if that is installed.

    Args:
        options: ONNX Runtime's SessionOptions, for a session with the model.
        model: the ONNX file.
    """
    try:
        is_used = not DOMAINS.isdisjoint(opset_domains(model))
    except (OSError, ValueError):
        return  # ONNX Runtime says what is wrong with the file
    if is_used and find_spec("onnxruntime_extensions"):
        from onnxruntime_extensions import get_library_path

        options.register_custom_ops_library(get_library_path())
