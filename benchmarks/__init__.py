"""Benchmarks of Scorebox and comparable servers with the same ONNX models; `scripts/bench` runs them."""
