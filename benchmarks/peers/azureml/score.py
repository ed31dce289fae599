"""An entry script for Azure ML's inference server: JSON."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


def init() -> None:
    """Load the model; called once in each worker."""
    global session, input_name, names
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = Path(os.environ["AZUREML_MODEL_DIR"]) / "model.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    input_name = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]


def run(data: str) -> dict[str, Any]:
    """Answer one request."""
    inputs = np.array(json.loads(data)["inputs"], np.float32)
    outputs = session.run(None, {input_name: inputs})
    return {"outputs": {name: array.tolist() for name, array in zip(names, outputs, strict=True)}}
