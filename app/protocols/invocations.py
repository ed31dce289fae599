"""`POST /invocations`: the bodies of `POST /score`, as MLflow's server and Amazon SageMaker have them.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/, "Local Inference Server Spec"
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html

MLflow's clients read `predictions` also after `inputs`: there it has the outputs by name, each in full.
"""

from collections.abc import Mapping

from app.model.served_model import ServedModel
from app.protocols import score
from app.protocols.codec import Body, DecodedRequest
from app.protocols.predictions import ReplyForm

MEDIA_TYPES: tuple[str, ...] = score.MEDIA_TYPES
REPLY = ReplyForm(columns="predictions")


def decode(
    body: Body, headers: Mapping[str, str], model: ServedModel, max_json_values: int
) -> DecodedRequest:
    """Decode a request's body; see `app.protocols.codec.Codec`."""
    return score.decode_as(REPLY, score.FORMS, body, headers, model, max_json_values)
