"""What one writes with FastAPI: a body model, a session, a route; and a route for raw bytes."""

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


class Reply(BaseModel):
    """A reply; the outputs differ in type."""

    outputs: dict[str, list[Any]]


def infer(inputs: Any) -> Reply:
    """Runs the model."""
    outputs = session.run(None, {model_input.name: inputs})
    return Reply(outputs={name: array.tolist() for name, array in zip(names, outputs, strict=True)})


# Async although it computes: on one core a thread's hop would only cost.
@app.post("/score")
async def score(body: Body) -> Reply:
    """Answers one request."""
    return infer(np.array(body.inputs, np.float32))


@app.post("/binary")
async def binary(request: Request) -> Reply:
    """Answers one request of float32 values as they are in memory."""
    return infer(np.frombuffer(await request.body(), np.float32).reshape(-1, *model_input.shape[1:]))
