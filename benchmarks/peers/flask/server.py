"""A Flask service written by hand: a session, a route for JSON with orjson, a route for raw bytes."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
from flask import Flask, Response, request

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
path = Path(os.environ["MODEL_DIR"]) / "model.onnx"
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
(model_input,) = session.get_inputs()
names = [output.name for output in session.get_outputs()]
app = Flask(__name__)


def infer(inputs: Any) -> Response:
    """Run the model and return the response."""
    outputs = session.run(None, {model_input.name: inputs})
    document = {"outputs": dict(zip(names, outputs, strict=True))}
    return Response(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), mimetype="application/json")


@app.post("/score")
def score() -> Response:
    """Answer a JSON request."""
    return infer(np.array(orjson.loads(request.data)["inputs"], np.float32))


@app.post("/binary")
def binary() -> Response:
    """Answer a request of float32 values in memory layout."""
    return infer(np.frombuffer(request.data, np.float32).reshape(-1, *model_input.shape[1:]))
