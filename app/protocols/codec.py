"""The interface of a protocol: decode a request's body, encode the model's outputs."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from app.model.served_model import ServedModel

Body: TypeAlias = bytes | bytearray | memoryview
# Additional headers and the body of a response.
Encoded: TypeAlias = tuple[dict[str, str], bytes | bytearray]


class DecodedRequest(NamedTuple):
    """A decoded request.

    Attributes:
        inputs: name → array in the model's dtype and shape (or list, dict, None), as ONNX Runtime accepts it.
        encode: encodes the response. Its arguments are the model's outputs, name → array, list or dict, and
            the members that every response has, such as `id`. It raises InvalidRequest if the outputs cannot
            be encoded as requested.
    """

    inputs: Mapping[str, Any]
    encode: Callable[[Mapping[str, Any], Mapping[str, str]], Encoded]


class Codec(Protocol):
    """A protocol's module.

    Attributes:
        MEDIA_TYPES: of the bodies that it decodes; the first is the default if a request has no content type.
    """

    MEDIA_TYPES: tuple[str, ...]

    def decode(
        self, body: Body, headers: Mapping[str, str], model: ServedModel, max_json_values: int
    ) -> DecodedRequest:
        """Decode a request's body.

        Args:
            headers: looked up by lower-case name.
            max_json_values: see `app.tensors.json_document`.

        Raises:
            InvalidRequest: the body is malformed or does not fit the model's inputs.
            BodyTooLarge: the body has too many JSON values.
        """
