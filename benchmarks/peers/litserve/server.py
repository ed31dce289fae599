"""A LitServe service."""

import os
from pathlib import Path
from typing import Any

import litserve
import numpy as np
import onnxruntime


class OnnxApi(litserve.LitAPI):
    """An ONNX model with one input."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load the model; called once in each worker."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = Path(os.environ["MODEL_DIR"]) / "model.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input_name = self.session.get_inputs()[0].name
        self.names = [output.name for output in self.session.get_outputs()]

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        """Return the model's input. It has no annotation, as in LitServe's documentation: no validation."""
        return np.array(request["inputs"], np.float32)

    def predict(self, inputs: Any) -> Any:
        """Return the model's outputs."""
        return self.session.run(None, {self.input_name: inputs})

    def encode_response(self, outputs: Any) -> dict[str, Any]:
        """Return the response."""
        return {"outputs": {name: array.tolist() for name, array in zip(self.names, outputs, strict=True)}}


if __name__ == "__main__":
    server = litserve.LitServer(OnnxApi(), accelerator="cpu", workers_per_device=int(os.environ["WORKERS"]))
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
