"""The example training workflow: from data to a model package. The service does not import it."""

import os

# ONNX Runtime reads it when it is imported, so it is set before any module of this package can import it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
