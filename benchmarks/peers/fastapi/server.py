"""A FastAPI service written by hand: a session, a route for JSON with a body model, a route for raw bytes."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
path = Path(os.environ["MODEL_DIR"]) / "model.onnx"
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
(model_input,) = session.get_inputs()
names = [output.name for output in session.get_outputs()]
Rows = list[list[float]]
Images = list[list[list[list[float]]]]
app = FastAPI()


class Body(BaseModel):
    """A request."""

    inputs: Rows if len(model_input.shape) == 2 else Images  # type: ignore[valid-type]


class ScoreResponse(BaseModel):
    """A response; the outputs differ in type."""

    outputs: dict[str, list[Any]]


def infer(inputs: Any) -> ScoreResponse:
    """Run the model and return the response."""
    outputs = session.run(None, {model_input.name: inputs})
    return ScoreResponse(outputs={name: array.tolist() for name, array in zip(names, outputs, strict=True)})


# `async` although inference blocks: on one core, a thread pool would only add its overhead.
@app.post("/score")
async def score(body: Body) -> ScoreResponse:
    """Answer a JSON request."""
    return infer(np.array(body.inputs, np.float32))


@app.post("/binary")
async def binary(request: Request) -> ScoreResponse:
    """Answer a request of float32 values in memory layout."""
    return infer(np.frombuffer(await request.body(), np.float32).reshape(-1, *model_input.shape[1:]))
