"""An entry script for Azure ML's inference server: an image's float32 values in memory layout."""

import os
from pathlib import Path
from typing import Any

import flask
import numpy as np
import onnxruntime
from azureml_inference_server_http.api.aml_request import rawhttp


def init() -> None:
    """Load the model; called once in each worker."""
    global session, input_name, names
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = Path(os.environ["AZUREML_MODEL_DIR"]) / "model.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    input_name = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]


@rawhttp
def run(request: flask.Request) -> dict[str, Any]:
    """Answer one request."""
    inputs = np.frombuffer(request.get_data(), np.float32).reshape(-1, 3, 224, 224)
    outputs = session.run(None, {input_name: inputs})
    return {"outputs": {name: array.tolist() for name, array in zip(names, outputs, strict=True)}}
