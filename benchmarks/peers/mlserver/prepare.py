"""Write MLServer's model repository: prepare.py MODEL_DIR OUTPUT_DIR."""

import json
import sys
from pathlib import Path

source, output = (Path(argument) for argument in sys.argv[1:])
output.mkdir()
settings = {
    "name": "bench",
    "implementation": "runtime.OnnxModel",
    "parameters": {"uri": str(source / "model.onnx")},
}
(output / "model-settings.json").write_text(json.dumps(settings))
