"""What to do when ONNX Runtime cannot load a model."""

import re
from importlib.util import find_spec

# The domains of onnxruntime-extensions' operators; its own converters write the second one.
_EXTENSIONS = re.compile(r"\b(com\.microsoft\.extensions|ai\.onnx\.contrib)\b")
_LOCALE = re.compile(r"Failed to construct locale with name:([\w.@-]+)")
_IR_VERSION = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")
_OPSET = re.compile(
    r"Opset (\d+) is under development.*official support for domain ([\w.]+) is till opset (\d+)"
)
_UPGRADE = (
    "or upgrade the line onnxruntime of requirements.in by ./scripts/lock --upgrade-package onnxruntime"
)


def explain(error: Exception) -> str:
    """Return the message of ONNX Runtime's exception, with what to do about it where that is known."""
    text = str(error).strip()
    if _EXTENSIONS.search(text) and not find_spec("onnxruntime_extensions"):
        return (
            f"{text}; its operators are part of onnxruntime-extensions, which is not installed: add the line "
            "onnxruntime-extensions to requirements-own.in and run ./scripts/lock"
        )
    if found := _LOCALE.search(text):
        return (
            f"its StringNormalizer has the locale {found[1]}, which this system does not have: export it "
            "with the locale C.UTF-8, for skl2onnx by options={TfidfVectorizer: {'locale': 'C.UTF-8'}}, or "
            "set the attribute 'locale' of that node"
        )
    if found := _IR_VERSION.search(text):
        return (
            f"it has IR version {found[1]}, and this ONNX Runtime reads up to {found[2]}: export it with "
            f"ir_version={found[2]}, an argument of onnx.helper.make_model and an attribute of the model, "
            f"{_UPGRADE}"
        )
    if found := _OPSET.search(text):
        return (
            f"it has opset {found[1]} of {found[2]}, and this ONNX Runtime reads up to {found[3]}: export it "
            f"with {_argument(found[2], found[3])}, {_UPGRADE}"
        )
    return text


def _argument(domain: str, opset: str) -> str:
    """Return the arguments of exporters that limit the opset of a domain."""
    if domain == "ai.onnx":
        return f"opset_version={opset} (torch) or target_opset={opset} (skl2onnx, onnxmltools)"
    return f"target_opset={{'': …, '{domain}': {opset}}} (skl2onnx)"
