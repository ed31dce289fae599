"""What a protocol makes of a request's body, and what it can make of the model's outputs."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from app.model.served_model import ServedModel

Body: TypeAlias = bytes | memoryview
Encoded: TypeAlias = tuple[dict[str, str], bytes]


class DecodedRequest(NamedTuple):
    """One decoded request.

    Attributes:
        inputs: name → array in the model's dtype and shape (or list, dict, None), as ONNX Runtime takes it.
        encode: the model's outputs, name → array, list or dict, and what stands in the reply beside them →
            the reply's own headers and its body; may raise InvalidRequest.
    """

    inputs: Mapping[str, Any]
    encode: Callable[[Mapping[str, Any], Mapping[str, str]], Encoded]


class Codec(Protocol):
    """A protocol's module: all that a door has to know of it is where it is asked.

    Attributes:
        MEDIA_TYPES: of the bodies that it reads; the first is that of a body that does not say.
    """

    MEDIA_TYPES: tuple[str, ...]

    def decode(self, body: Body, headers: Mapping[str, str], model: ServedModel) -> DecodedRequest:
        """Reads a request's body.

        Args:
            headers: looked up by name in lower case.

        Raises:
            InvalidRequest: it is malformed, or does not fit the model's inputs.
        """
