"""A mosec service."""

import os
from pathlib import Path
from typing import Any

import mosec
import numpy as np
import onnxruntime


class OnnxWorker(mosec.Worker):
    """An ONNX model with one input; mosec reads and writes JSON."""

    def __init__(self) -> None:
        """Load the model; called once in each worker process."""
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = Path(os.environ["MODEL_DIR"]) / "model.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input_name = self.session.get_inputs()[0].name
        self.names = [output.name for output in self.session.get_outputs()]

    def forward(self, data: Any) -> dict[str, Any]:
        """Answer one request."""
        outputs = self.session.run(None, {self.input_name: np.array(data["inputs"], np.float32)})
        return {"outputs": {name: array.tolist() for name, array in zip(self.names, outputs, strict=True)}}


if __name__ == "__main__":
    server = mosec.Server()
    server.append_worker(OnnxWorker, num=int(os.environ["WORKERS"]))
    server.run()
