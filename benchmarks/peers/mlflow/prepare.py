"""Save the model in MLflow's format: prepare.py MODEL_DIR OUTPUT_DIR."""

import sys
from pathlib import Path

import mlflow.onnx
import onnx

source, output = (Path(argument) for argument in sys.argv[1:])
model = onnx.load(source / "model.onnx")
mlflow.onnx.save_model(model, output, onnx_session_options={"intra_op_num_threads": 1})
