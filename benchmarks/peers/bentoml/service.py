"""A BentoML service."""

import os
from pathlib import Path
from typing import Annotated, Any

import bentoml
import numpy as np
import onnxruntime
from bentoml.validators import DType


@bentoml.service(name="bench", workers=int(os.environ["WORKERS"]))
class Bench:
    """An ONNX model with one input."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = Path(os.environ["MODEL_DIR"]) / "model.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input_name = self.session.get_inputs()[0].name
        self.names = [output.name for output in self.session.get_outputs()]

    @bentoml.api
    def score(self, inputs: Annotated[np.ndarray, DType("float32")]) -> dict[str, Any]:
        """Answer one request."""
        outputs = self.session.run(None, {self.input_name: inputs})
        return {"outputs": {name: array.tolist() for name, array in zip(self.names, outputs, strict=True)}}
