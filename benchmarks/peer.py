"""The compared servers: how each is prepared, started and called. Programs are in `peers/<name>/`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "benchmarks/peers"
JSON = {"content-type": "application/json"}
BYTES = {"content-type": "application/octet-stream"}
NPY = {"content-type": "application/x-npy", "accept": "application/x-npy"}

Outputs = Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """A format of requests and responses.

    Attributes:
        path: path of the URL.
        encode: nested lists of the model's input `x` → headers and body.
        decode: body of the response → output name → nested or flat numbers.
        program: value of `{program}` in the command, if each format needs its own program.
    """

    path: str
    encode: Callable[[Any], tuple[Mapping[str, str], bytes]]
    decode: Callable[[bytes], Outputs]
    program: str = ""


@dataclass(frozen=True)
class Peer:
    """One server.

    Placeholders in commands and environment variables: `{python}` and `{bin}` of its environment; `{here}`,
    the directory of its program; `{root}`, the clone; `{source}`, the model's directory; `{served}`, the
    directory that `prepare` writes; `{port}`, `{port2}` and `{port3}`; `{workers}`; `{pool}`, the number of
    workers, or 0 if it is 1; `{program}`.

    Attributes:
        title: name in tables and charts.
        start: the command.
        formats: "json", and "binary" if it accepts a tensor's bytes.
        prepare: commands that run once per model.
        environ: environment variables in addition to PATH, HOME and TMPDIR.
        directory: working directory; by default a temporary one.
        packages: packages to list with their versions, if it has no requirements.txt.
    """

    title: str
    start: tuple[str, ...]
    formats: Mapping[str, Format]
    prepare: tuple[tuple[str, ...], ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    directory: str | None = None
    packages: tuple[str, ...] = ()


def _inputs_json(inputs: Any) -> tuple[Mapping[str, str], bytes]:
    return JSON, json.dumps({"inputs": inputs}).encode()


def _tensor_bytes(inputs: Any) -> tuple[Mapping[str, str], bytes]:
    return BYTES, np.array(inputs, np.float32).tobytes()


def _open_inference(inputs: Any) -> tuple[Mapping[str, str], bytes]:
    array = np.array(inputs)
    tensor = {"name": "x", "shape": array.shape, "datatype": "FP32", "data": array.ravel().tolist()}
    return JSON, json.dumps({"inputs": [tensor]}).encode()


def _npy(inputs: Any) -> tuple[Mapping[str, str], bytes]:
    file = BytesIO()
    np.save(file, np.array(inputs, np.float32))
    return NPY, file.getvalue()


def _outputs(reply: bytes) -> Outputs:
    outputs: Outputs = json.loads(reply)["outputs"]
    return outputs


def _predictions(reply: bytes) -> Outputs:
    outputs: Outputs = json.loads(reply)["predictions"]
    return outputs


def _tensors(reply: bytes) -> Outputs:
    return {tensor["name"]: tensor["data"] for tensor in json.loads(reply)["outputs"]}


def _array(reply: bytes) -> Outputs:
    return {"y": np.load(BytesIO(reply))}


_LOADER = ("{python}", "-m", "model_loader")
_STORE = ("--store", "file:{served}.store")

_SERVICE = Peer(
    title="Scorebox",
    # As in a container: threads and other defaults follow from the available CPUs.
    start=("{bin}/gunicorn",),
    formats={"json": Format("/score", _inputs_json, _outputs), "binary": Format("/score", _npy, _array)},
    prepare=(
        (*_LOADER, "publish", "{source}", "--name", "bench", *_STORE),
        (*_LOADER, "pull", "--output", "{served}", "--lock", "{served}.lock", *_STORE),
        (*_LOADER, "optimize", "{served}"),
    ),
    environ={
        "HOST": "127.0.0.1",
        "PORT": "{port}",
        "MODEL_PATH": "{served}",
        "WEB_CONCURRENCY": "{workers}",
        # No load balancer needs time to notice that it stops.
        "DRAIN_DELAY_S": "0",
    },
    directory="{root}",
    packages=("onnxruntime", "numpy", "gunicorn", "uvicorn", "httptools", "uvloop", "flask", "orjson"),
)

PEERS: Mapping[str, Peer] = {
    "service": _SERVICE,
    "mlserver": Peer(
        title="MLServer",
        start=("{python}", "-c", "from mlserver.cli import main; main()", "start", "{served}"),
        formats={"json": Format("/v2/models/bench/infer", _open_inference, _tensors)},
        prepare=(("{python}", "{here}/prepare.py", "{source}", "{served}"),),
        environ={
            "PYTHONPATH": "{here}",
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{port2}",
            "MLSERVER_METRICS_PORT": "{port3}",
            # Its pool does not start with uvloop 0.23, the newest; requirements.txt pins an older version.
            "MLSERVER_PARALLEL_WORKERS": "{pool}",
        },
    ),
    "azureml": Peer(
        title="azureml-inference-server-http",
        start=(
            *("{bin}/azmlinfsrv", "--entry_script", "{here}/{program}", "--model_dir", "{source}"),
            *("--port", "{port}", "--health_port", "{port2}", "--worker_count", "{workers}"),
        ),
        formats={
            "json": Format("/score", _inputs_json, _outputs, "score.py"),
            "binary": Format("/score", _tensor_bytes, _outputs, "score_binary.py"),
        },
    ),
    "mlflow": Peer(
        title="MLflow",
        start=(
            *("{bin}/mlflow", "models", "serve", "--env-manager", "local", "--model-uri", "{served}"),
            *("--host", "127.0.0.1", "--port", "{port}", "--workers", "{workers}"),
        ),
        formats={"json": Format("/invocations", _inputs_json, _predictions)},
        prepare=(("{python}", "{here}/prepare.py", "{source}", "{served}"),),
        environ={"MLFLOW_DISABLE_TELEMETRY": "true"},
    ),
    "litserve": Peer(
        title="LitServe",
        start=("{python}", "{here}/server.py"),
        formats={"json": Format("/predict", _inputs_json, _outputs)},
        environ={"MODEL_DIR": "{source}", "PORT": "{port}", "WORKERS": "{workers}"},
    ),
    "mosec": Peer(
        title="mosec",
        start=("{python}", "{here}/server.py", "--address", "127.0.0.1", "--port", "{port}"),
        formats={"json": Format("/inference", _inputs_json, _outputs)},
        environ={"MODEL_DIR": "{source}", "WORKERS": "{workers}"},
    ),
    "bentoml": Peer(
        title="BentoML",
        start=(
            *("{bin}/bentoml", "serve", "service:Bench", "--working-dir", "{here}"),
            *("--host", "127.0.0.1", "--port", "{port}"),
        ),
        formats={"json": Format("/score", _inputs_json, _outputs)},
        environ={"MODEL_DIR": "{source}", "WORKERS": "{workers}", "BENTOML_DO_NOT_TRACK": "true"},
    ),
    "fastapi": Peer(
        title="FastAPI by hand",
        start=(
            *("{bin}/uvicorn", "server:app", "--app-dir", "{here}"),
            *("--port", "{port}", "--workers", "{workers}"),
        ),
        formats={
            "json": Format("/score", _inputs_json, _outputs),
            "binary": Format("/binary", _tensor_bytes, _outputs),
        },
        environ={"MODEL_DIR": "{source}"},
    ),
    "flask": Peer(
        title="Flask by hand",
        start=(
            *("{bin}/gunicorn", "server:app", "--chdir", "{here}", "--bind", "127.0.0.1:{port}"),
            *("--worker-class", "gthread", "--threads", "4", "--workers", "{workers}"),
        ),
        formats={
            "json": Format("/score", _inputs_json, _outputs),
            "binary": Format("/binary", _tensor_bytes, _outputs),
        },
        environ={"MODEL_DIR": "{source}"},
    ),
    "switched": replace(
        _SERVICE,
        title="Scorebox, observability on and off",
        start=("{bin}/gunicorn", "benchmarks.switched:application()"),
    ),
    "captured": replace(
        _SERVICE,
        title="Scorebox, capture on and off",
        start=("{bin}/gunicorn", "benchmarks.switched:captured()"),
        environ={**_SERVICE.environ, "CAPTURE_DIR": "{scratch}/spool", "CAPTURE_MAX_BYTES": str(2**36)},
    ),
    "bare": Peer(
        title="A bare ASGI callable under uvicorn",
        start=(
            *("{bin}/uvicorn", "server:application", "--app-dir", "{here}", "--port", "{port}"),
            *("--loop", "uvloop", "--http", "httptools", "--workers", "{workers}", "--no-access-log"),
        ),
        formats={"json": Format("/score", _inputs_json, _outputs)},
        environ={"MODEL_DIR": "{source}"},
        packages=("uvicorn", "httptools", "uvloop"),
    ),
}
# Not compared with the others: they measure what a part of Scorebox costs.
PARTS = ("switched", "captured", "bare")
# Where `switched` returns the throughput of each interval.
TURNS_PATH = "/turns"
# Where `captured` is switched.
CAPTURE_PATH = "/capture"
