"""The example training workflow: from data to a model package. The service never imports it."""

import os

# Read by ONNX Runtime when it initialises, so it is set before anything here can import it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
