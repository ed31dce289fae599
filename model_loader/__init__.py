"""Model packages and the store they live in: publish, pull, verify, promote, roll back."""

import os

# Read by ONNX Runtime when it initialises, so it is set before anything here can import it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
