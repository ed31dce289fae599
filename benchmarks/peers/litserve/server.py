"""A LitServe program."""

import os
from pathlib import Path
from typing import Any

import litserve
import numpy as np
import onnxruntime


class OnnxApi(litserve.LitAPI):
    """An ONNX model with one input."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Called once, in each worker."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = Path(os.environ["MODEL_DIR"]) / "model.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input_name = self.session.get_inputs()[0].name
        self.names = [output.name for output in self.session.get_outputs()]

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        """The model's input; without an annotation, as in LitServe's documentation, no model checks it."""
        return np.array(request["inputs"], np.float32)

    def predict(self, inputs: Any) -> Any:
        """The model's outputs."""
        return self.session.run(None, {self.input_name: inputs})

    def encode_response(self, outputs: Any) -> dict[str, Any]:
        """The reply."""
        return {"outputs": {name: array.tolist() for name, array in zip(self.names, outputs, strict=True)}}


if __name__ == "__main__":
    server = litserve.LitServer(OnnxApi(), accelerator="cpu", workers_per_device=int(os.environ["WORKERS"]))
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
