"""Median time of one inference in a process, without a service, in milliseconds.

`python -m benchmarks.in_process SOURCE json` includes parsing the request and serializing the response;
`binary` measures only `session.run`.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import onnxruntime
import orjson

REPEATS = 2000


def main(source: Path, kind: str) -> None:
    """Print the median time of one inference, in milliseconds."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(source / "model.onnx", options)
    x = json.loads((source / "samples.json").read_text())[0]["inputs"]["x"]
    body = json.dumps({"inputs": x}).encode()
    array = np.array(x, np.float32)

    def run_json() -> None:
        inputs = np.array(orjson.loads(body)["inputs"], np.float32)
        outputs = session.run(None, {"x": inputs})
        orjson.dumps({"outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)

    def run() -> None:
        session.run(None, {"x": array})

    infer: Callable[[], None] = run_json if kind == "json" else run
    times = []
    for _ in range(REPEATS):
        start = perf_counter()
        infer()
        times.append(perf_counter() - start)
    print(median(times) * 1e3)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
