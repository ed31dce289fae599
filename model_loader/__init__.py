"""Model packages and the store that keeps them: publish, pull, verify, promote, roll back."""

import os

# ONNX Runtime reads it when it is imported, so it is set before any module of this package can import it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
