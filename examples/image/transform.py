"""Images for a network that takes numbers: the seam of the image example, copied over `app/transform.py`.

A request carries JPEG or PNG files as base64, and is answered with the best labels and their probabilities.
Pillow has to be installed where the service runs; docs/models.md says how.
"""

import base64
import io
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import InvalidRequest
from model_loader.package import Package, TensorSpec

# Name → array in the spec's dtype and shape; strings in arrays of objects.
NamedValues = Mapping[str, Any]

SIZE = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BEST = 3

# A file of a few kilobytes can stand for gigabytes of pixels.
MAX_PIXELS = 2**24
TOO_LARGE = f"input 'image': expected at most {MAX_PIXELS} pixels"
# What has eight bits a channel; Pillow clips what has more.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


class Transform:
    """Base64 of images in, the best labels out."""

    inputs = (TensorSpec("image", "STRING", ("batch",)),)
    outputs = (
        TensorSpec("labels", "STRING", ("batch", BEST)),
        TensorSpec("probabilities", "FP32", ("batch", BEST)),
    )

    def __init__(self, package: Package) -> None:
        """Takes the labels from the package's manifest."""
        self.classes = np.array(package.manifest.classes, object)

    def before(self, inputs: NamedValues) -> NamedValues:
        """The network's input: x, FP32 [batch, 3, SIZE, SIZE].

        Raises:
            InvalidRequest: something is not an image, or too large a one.
        """
        images = [pixels(decode(text)) for text in inputs["image"]]
        return {"x": np.array(images, np.float32).reshape(-1, 3, SIZE, SIZE)}

    def after(self, outputs: NamedValues) -> NamedValues:
        """The labels of the highest scores, the best first, with their probabilities."""
        scores = outputs["scores"]
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :BEST]
        return {
            "labels": self.classes[best],
            "probabilities": np.take_along_axis(probabilities, best, axis=1),
        }


def decode(text: str) -> Image.Image:
    """The RGB image that a JPEG or PNG file in base64 holds; transparency is dropped.

    Raises:
        InvalidRequest: it is none, a broken or too large one.
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
    """What the network takes of an RGB image: FP32 [3, SIZE, SIZE], resized and normalised."""
    resized = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    normalised = (np.asarray(resized) / 255 - MEAN) / STD
    return normalised.astype(np.float32).transpose(2, 0, 1)
