"""Who is compared: one table of how each is prepared, started and asked. Programs are in `peers/<name>/`."""

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
    """How one is asked, and how it answers.

    Attributes:
        path: of the URL.
        encode: nested lists of the model's input `x` → headers and body.
        decode: the reply → output name → nested or flat numbers.
        program: put for `{program}` in the command, where formats are served by different ones.
    """

    path: str
    encode: Callable[[Any], tuple[Mapping[str, str], bytes]]
    decode: Callable[[bytes], Outputs]
    program: str = ""


@dataclass(frozen=True)
class Peer:
    """One server.

    In its commands and its environment are put: `{python}` and `{bin}`, of its environment; `{here}`, its
    program's directory; `{root}`, the clone; `{source}`, the model's directory; `{served}`, what the
    preparation makes of it; `{port}`, and two more, `{port2}` and `{port3}`; `{workers}`; `{pool}`, the same
    but 0 for one; `{program}`.

    Attributes:
        title: as tables and charts call it.
        start: the command.
        formats: "json", and "binary" where it takes a tensor's bytes.
        prepare: commands that are run once for each model.
        environ: what it needs beside PATH, HOME and TMPDIR.
        directory: where it is run; by default a temporary one.
        packages: whose versions are told, where it has no requirements.txt.
    """

    title: str
    start: tuple[str, ...]
    formats: Mapping[str, Format]
    prepare: tuple[tuple[str, ...], ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    directory: str | None = None
    packages: tuple[str, ...] = ()


def _plain(inputs: Any) -> tuple[Mapping[str, str], bytes]:
    return JSON, json.dumps({"inputs": inputs}).encode()


def _raw(inputs: Any) -> tuple[Mapping[str, str], bytes]:
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

_SCOREBOX = Peer(
    title="Scorebox",
    # As a container runs it: threads and all else come from the CPUs that it is given.
    start=("{bin}/gunicorn",),
    formats={"json": Format("/score", _plain, _outputs), "binary": Format("/score", _npy, _array)},
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
        # Nobody has to hear of its end.
        "DRAIN_DELAY_S": "0",
        # As in the Dockerfile.
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=512",
    },
    directory="{root}",
    packages=("onnxruntime", "numpy", "gunicorn", "flask", "orjson"),
)

PEERS: Mapping[str, Peer] = {
    "scorebox": _SCOREBOX,
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
            # Its pool does not start with uvloop 0.23, the newest, so its requirements.txt pins an older one.
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
            "json": Format("/score", _plain, _outputs, "score.py"),
            "binary": Format("/score", _raw, _outputs, "score_binary.py"),
        },
    ),
    "mlflow": Peer(
        title="MLflow",
        start=(
            *("{bin}/mlflow", "models", "serve", "--env-manager", "local", "--model-uri", "{served}"),
            *("--host", "127.0.0.1", "--port", "{port}", "--workers", "{workers}"),
        ),
        formats={"json": Format("/invocations", _plain, _predictions)},
        prepare=(("{python}", "{here}/prepare.py", "{source}", "{served}"),),
        environ={"MLFLOW_DISABLE_TELEMETRY": "true"},
    ),
    "litserve": Peer(
        title="LitServe",
        start=("{python}", "{here}/server.py"),
        formats={"json": Format("/predict", _plain, _outputs)},
        environ={"MODEL_DIR": "{source}", "PORT": "{port}", "WORKERS": "{workers}"},
    ),
    "bentoml": Peer(
        title="BentoML",
        start=(
            *("{bin}/bentoml", "serve", "service:Bench", "--working-dir", "{here}"),
            *("--host", "127.0.0.1", "--port", "{port}"),
        ),
        formats={"json": Format("/score", _plain, _outputs)},
        environ={"MODEL_DIR": "{source}", "WORKERS": "{workers}", "BENTOML_DO_NOT_TRACK": "true"},
    ),
    "fastapi": Peer(
        title="FastAPI by hand",
        start=(
            *("{bin}/uvicorn", "server:app", "--app-dir", "{here}"),
            *("--port", "{port}", "--workers", "{workers}"),
        ),
        formats={"json": Format("/score", _plain, _outputs), "binary": Format("/binary", _raw, _outputs)},
        environ={"MODEL_DIR": "{source}"},
    ),
    "flask": Peer(
        title="Flask by hand",
        start=(
            *("{bin}/gunicorn", "server:app", "--chdir", "{here}", "--bind", "127.0.0.1:{port}"),
            *("--worker-class", "gthread", "--threads", "4", "--workers", "{workers}"),
        ),
        formats={"json": Format("/score", _plain, _outputs), "binary": Format("/binary", _raw, _outputs)},
        environ={"MODEL_DIR": "{source}"},
    ),
    "switched": replace(
        _SCOREBOX,
        title="Scorebox, looked at by turns",
        start=("{bin}/gunicorn", "benchmarks.switched:application()"),
    ),
    "bare": Peer(
        title="A bare ASGI callable under gunicorn",
        start=(
            *("{bin}/gunicorn", "server:application", "--chdir", "{here}", "--bind", "127.0.0.1:{port}"),
            *("--worker-class", "asgi", "--workers", "{workers}"),
        ),
        formats={"json": Format("/score", _plain, _outputs)},
        environ={"MODEL_DIR": "{source}"},
        packages=("gunicorn",),
    ),
}
# Not for comparison: they tell what a part of Scorebox costs.
PARTS = ("switched", "bare")
# Where the first of them tells of its turns.
TURNS_PATH = "/turns"
