"""`POST /v1/models/…:predict`: TensorFlow Serving's predict API, which is also KServe's V1 protocol.

https://www.tensorflow.org/tfx/serving/api_rest, "Predict API"
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol

Other than at `POST /score`, the response has the bare values of an output if it is the only one.
"""

from collections.abc import Mapping

from app.model.served_model import ServedModel
from app.protocols import score
from app.protocols.codec import Body, DecodedRequest
from app.protocols.predictions import ReplyForm

MEDIA_TYPES: tuple[str, ...] = (score.JSON,)
REPLY = ReplyForm(is_named=False)


def decode(
    body: Body, headers: Mapping[str, str], model: ServedModel, max_json_values: int
) -> DecodedRequest:
    """Decode a request's body; see `app.protocols.codec.Codec`."""
    return score.decode_as(REPLY, score.TENSOR_FORMS, body, headers, model, max_json_values)
