"""The optimized model: served where it fits and proves itself; else the model as it was published."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from app.errors import ModelError
from app.model import onnx_model
from app.model.self_test import VerifiedModel, load_and_verify
from app.settings import Settings
from model_loader.optimize import optimize
from model_loader.package import verify_package
from model_loader.package.optimized import OPTIMIZED_FILE, optimized_path
from tests import models
from tests.app.conftest import StartServer
from tests.conftest import write_package

SIZE = 64
SAMPLE = {"inputs": {"x": [[1] * SIZE]}, "outputs": {"y": [[6 * 1] * SIZE]}}


@pytest.fixture
def optimized(tmp_path: Path) -> Path:
    """A package with weights, and beside it its optimized model."""
    path = write_package(tmp_path / "package", models.layers(SIZE), samples=[SAMPLE])
    assert optimize(verify_package(path))
    return path


def proven(path: Path, **settings: Any) -> VerifiedModel:
    """What the service would serve."""
    return load_and_verify(Settings(model_path=path, **settings).resolved(1))


def change(path: Path, **values: Any) -> None:
    """Writes another note into the optimized model."""
    file = optimized_path(path) / OPTIMIZED_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_served(optimized: Path) -> None:
    """The optimized model has the same signature and the same answers, and names the same package."""
    one = proven(optimized)
    assert (one.is_optimized, one.fallback_reason) == (True, None)
    other = onnx_model.load(one.model.package, Settings(model_path=optimized).resolved(1))
    assert (one.model.inputs, one.model.outputs) == (other.inputs, other.outputs)
    rows = np.random.default_rng(0).standard_normal((5, SIZE)).astype(np.float32)
    np.testing.assert_allclose(one.model.infer({"x": rows})["y"], other.infer({"x": rows})["y"], rtol=1e-5)


def test_weights_are_mapped(optimized: Path) -> None:
    """The weights in memory are pages of the file, which all workers share."""
    proven(optimized)
    code = (
        "import sys; from pathlib import Path\n"
        "from app.model.self_test import load_and_verify; from app.settings import Settings\n"
        "proven = load_and_verify(Settings(model_path=Path(sys.argv[1])).resolved(1))\n"
        "print(Path('/proc/self/maps').read_text())"
    )
    maps = subprocess.run([sys.executable, "-c", code, optimized], capture_output=True, text=True, check=True)
    assert "package.optimized/weights.bin" in maps.stdout


@pytest.mark.parametrize(
    "widths", [(3, 1000), (30, 300), (1000, 3), (100, 11), (4, 1000), (30, 300, 512, 512), (513, 513, 64)]
)
def test_odd_sizes(tmp_path: Path, widths: tuple[int, ...]) -> None:
    """Weights of any size can be baked: what is misaligned in memory would end the process that reads it."""
    path = write_package(tmp_path / "package", models.dense(*widths))
    assert optimize(verify_package(path))
    code = """
import sys
from pathlib import Path
import numpy as np
from app.model.self_test import load_and_verify
from app.settings import Settings
proven = load_and_verify(Settings(model_path=Path(sys.argv[1])).resolved(1))
for rows in (1, 2, 8):
    proven.model.infer({"x": np.ones((rows, int(sys.argv[2])), np.float32)})
print(proven.is_optimized)
"""
    command = [sys.executable, "-c", code, str(path), str(widths[0])]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "True\n"), run.stderr


def test_not_optimized(package: Path) -> None:
    """Without an optimized model, and with a lone file, there is nothing to say."""
    assert (proven(package).is_optimized, proven(package).fallback_reason) == (False, None)
    assert (proven(package / "model.onnx").is_optimized, proven(package / "model.onnx").fallback_reason) == (
        False,
        None,
    )


def flip(path: Path) -> None:
    """One other byte in the weights."""
    file = optimized_path(path) / "weights.bin"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)


def answer_otherwise(path: Path) -> None:
    """A optimized model of another model, with a note that says it is this one's."""
    other = write_package(path.with_name("other"), models.layers(SIZE, count=2))
    optimize(verify_package(other))
    note = json.loads((optimized_path(path) / OPTIMIZED_FILE).read_text())
    for file in optimized_path(other).iterdir():
        (optimized_path(path) / file.name).write_bytes(file.read_bytes())
    change(path, digest=note["digest"])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: change(path, onnxruntime="0.1"), "was optimized for onnxruntime 0.1, not "),
        (lambda path: change(path, cpu_features=["avx"]), "was optimized for cpu_features avx, not "),
        (lambda path: change(path, machine="sparc"), "was optimized for machine sparc, not "),
        (lambda path: change(path, digest="sha256:0"), "was optimized for digest sha256:0, not sha256:"),
        (lambda path: change(path, files={"model.onnx": {}}), "model.onnx is not what was optimized"),
        (lambda path: (optimized_path(path) / "model.onnx").unlink(), "model.onnx is not what was optimized"),
        (lambda path: (optimized_path(path) / OPTIMIZED_FILE).write_text("{"), "is not an optimized model"),
        (lambda path: (optimized_path(path) / OPTIMIZED_FILE).write_text("[]"), "is not an optimized model"),
        (
            lambda path: (optimized_path(path) / OPTIMIZED_FILE).write_text('{"files": 1}'),
            "is not an optimized model",
        ),
        (lambda path: change(path, files=[1]), "is not an optimized model"),
        (flip, "weights.bin is not what was optimized"),
        (answer_otherwise, "sample 0: output 'y'"),
    ],
)
def test_falls_back(optimized: Path, spoil: Callable[[Path], None], words: str) -> None:
    """What was not baked for this machine, is broken or answers otherwise is not used, and it is said why."""
    spoil(optimized)
    result = proven(optimized)
    assert result.fallback_reason
    assert words in result.fallback_reason
    assert not result.is_optimized
    assert result.model.infer({"x": np.ones((1, SIZE), np.float32)})["y"][0, 0] == pytest.approx(6)


def test_other_providers(optimized: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimized model is for the CPU; who asks for more gets the model as it was published."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["X", "CPUExecutionProvider"])
    monkeypatch.setattr(onnx_model, "_session", lambda *_, **__: pytest.fail("a session was made"))
    package = onnx_model.open_package(optimized)
    settings = Settings(model_path=optimized, providers=("X", "CPUExecutionProvider")).resolved(1)
    assert onnx_model.load_optimized(package, settings) is None


def test_broken_package_is_still_refused(optimized: Path) -> None:
    """A optimized model does not stand in for a package that is not what was published."""
    (optimized / "model.onnx").write_bytes(models.affine())
    with pytest.raises(ModelError, match="is not what was published"):
        proven(optimized)


@pytest.mark.parametrize("spoilt", [False, True])
def test_said_once(optimized: Path, start_server: StartServer, spoilt: bool) -> None:
    """One line for all workers says that the optimized model is not used, and a metric says which one is."""
    if spoilt:
        change(optimized, onnxruntime="0.1")
    server = start_server(optimized, WEB_CONCURRENCY="2").wait_until_ready()
    lines = [line["message"] for line in server.lines() if "as published" in line["message"]]
    assert len(lines) == spoilt
    assert f"\nmodel_optimized {0.0 if spoilt else 1.0}\n" in server.request("GET", "/metrics")[1]
    assert server.stop() == 0
