"""Pre- and post-processing of the image example, to be copied over `app/transform.py`.

A request has JPEG or PNG files in base64; the response has the best labels and their probabilities. The
service needs Pillow, see docs/models.md.
"""

import base64
import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import InvalidRequest
from app.model.transform import NamedValues, Transform
from model_loader.package import Package, TensorSpec

SIZE = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BEST = 3

# A file of a few kilobytes can decompress to gigabytes of pixels.
MAX_PIXELS = 2**24
TOO_LARGE = f"input 'image': expected at most {MAX_PIXELS} pixels"
# Modes with eight bits per channel. Pillow clips the values of others.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


class OwnTransform(Transform):
    """Images in base64 to the best labels."""

    inputs = (TensorSpec("image", "STRING", ("batch",)),)
    outputs = (
        TensorSpec("labels", "STRING", ("batch", BEST)),
        TensorSpec("probabilities", "FP32", ("batch", BEST)),
    )

    def __init__(self, package: Package) -> None:
        """Read the labels from the package's manifest."""
        self.classes = np.array(package.manifest.classes, object)

    def before(self, inputs: NamedValues) -> NamedValues:
        """Return the network's input: x, FP32 [batch, 3, SIZE, SIZE].

        Raises:
            InvalidRequest: an element is not an image, or is too large.
        """
        images = [pixels(decode(text)) for text in inputs["image"]]
        return {"x": np.array(images, np.float32).reshape(-1, 3, SIZE, SIZE)}

    def after(self, outputs: NamedValues) -> NamedValues:
        """Return the labels with the highest scores, the best one first, and their probabilities."""
        scores = outputs["scores"]
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :BEST]
        return {
            "labels": self.classes[best],
            "probabilities": np.take_along_axis(probabilities, best, axis=1),
        }


def decode(text: str) -> Image.Image:
    """Decode a JPEG or PNG file in base64 as RGB, without transparency.

    Raises:
        InvalidRequest: it is not such a file, or is broken or too large.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as exc:
        raise InvalidRequest("input 'image': expected base64") from exc
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        if image.width * image.height > MAX_PIXELS:
            raise InvalidRequest(TOO_LARGE)
        if image.mode not in MODES:
            raise InvalidRequest(f"input 'image': expected 8 bits a channel, got mode {image.mode}")
        return image.convert("RGB")
    except Image.DecompressionBombError as exc:
        raise InvalidRequest(TOO_LARGE) from exc
    except (OSError, SyntaxError, ValueError, struct.error) as exc:
        raise InvalidRequest("input 'image': expected a JPEG or PNG file") from exc


def pixels(image: Image.Image) -> NDArray[np.float32]:
    """Resize and normalize an RGB image: FP32 [3, SIZE, SIZE]."""
    resized = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    normalized = (np.asarray(resized) / 255 - MEAN) / STD
    return normalized.astype(np.float32).transpose(2, 0, 1)
