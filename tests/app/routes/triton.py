"""Triton's server, as the package nvidia-pytriton has it, with a model of y = 2·x + 1 over FP32 [batch, 2].

It has the backend for Python only, which needs the Python's shared library, as Debian's Python has it.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.app.serving.nginx import accepts, free_port

PATHS = "import pytriton, sys; print(*pytriton.__path__, '%d.%d' % sys.version_info[:2])"
MODEL = """
import triton_python_backend_utils as utils

class TritonPythonModel:
    def execute(self, requests):
        inputs = (utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests)
        outputs = (utils.Tensor("y", 2 * x + 1) for x in inputs)
        return [utils.InferenceResponse([y]) for y in outputs]
"""
CONFIG = """
name: "tiny" backend: "python" max_batch_size: 128
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""
START_TIMEOUT_S = 60


@contextmanager
def triton(python: str, directory: Path) -> Iterator[int]:
    """Run Triton with the model `tiny`, version 1; provide its port.

    Args:
        python: a Python that has nvidia-pytriton.
        directory: for the model, the backend and the log.
    """
    found = subprocess.run([python, "-c", PATHS], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    package, version = found.stdout.split()
    server = Path(package) / "tritonserver"
    backend, model = directory / "backends/python", directory / "models/tiny"
    for folder in (backend, model / "1"):
        folder.mkdir(parents=True)
    stub = server / f"python_backend_stubs/{version}/triton_python_backend_stub"
    for file in (*(server / "backends/python").glob("*.*"), stub):
        (backend / file.name).symlink_to(file)
    (model / "1/model.py").write_text(MODEL)
    (model / "config.pbtxt").write_text(CONFIG)
    site = Path(package).parent
    environ = {
        "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"),
        "PATH": f"{Path(python).absolute().parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(site),
    }
    port = free_port()
    options = (
        f"--model-repository={directory / 'models'}",
        f"--backend-directory={directory / 'backends'}",
        f"--http-port={port}",
        "--http-address=127.0.0.1",
        "--allow-grpc=false",
        "--allow-metrics=false",
        f"--backend-config=python,shm-region-prefix-name=parity{os.getpid()}",
    )
    log = directory / "triton.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [server / "bin/tritonserver", *options], env=environ, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not accepts(port) or "successfully loaded 'tiny'" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)
