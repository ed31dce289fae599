"""The same ONNX models behind Scorebox and behind its peers, measured alike; run by `scripts/bench`."""
