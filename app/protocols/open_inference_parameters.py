"""The `parameters` of the Open Inference Protocol: what is supported, refused or ignored.

https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md, "Parameters"
https://github.com/triton-inference-server/server, docs/protocol/extension_*.md
"""

from collections.abc import Mapping
from typing import Any

from app.errors import InvalidRequest
from app.tensors.io_spec import preview

_CLASSIFICATION = "request the output itself, which has the scores of all classes"
_SHARED_MEMORY = "send tensors in the body, as binary data or JSON"
_SEQUENCE = "no state is kept between requests; send it as inputs if the model has such inputs"
# Word of another server → what to do without it. Each would change the answer, so none can be ignored.
UNSUPPORTED = {
    "class_count": _CLASSIFICATION,
    "classification": _CLASSIFICATION,
    "shared_memory_region": _SHARED_MEMORY,
    "shared_memory_offset": _SHARED_MEMORY,
    "shared_memory_byte_size": _SHARED_MEMORY,
    "sequence_id": _SEQUENCE,
    "sequence_start": _SEQUENCE,
    "sequence_end": _SEQUENCE,
}
_NAMES = frozenset(UNSUPPORTED)


def parameters_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a request, an input or an output; unknown ones have no effect.

    Raises:
        InvalidRequest: they are not an object, or one of them has an effect that is not supported.
    """
    parameters = document.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"expected 'parameters' to be an object, got {preview(parameters)}")
    check_supported(parameters)
    return parameters


def check_supported(members: Mapping[str, Any]) -> None:
    """Check that no member is a word of another server that would change the answer; 0 or false would not.

    Raises:
        InvalidRequest: one is.
    """
    if not _NAMES.isdisjoint(members):
        for name, advice in UNSUPPORTED.items():
            if members.get(name):
                raise InvalidRequest(f"'{name}' is not supported: {advice}")


def flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """Return a parameter that is true or false.

    Raises:
        InvalidRequest: it is something else.
    """
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"expected parameter '{name}' to be true or false, got {preview(value)}")
    return value
