"""The optimized model: served if it fits the machine and passes the self-test; else the published model."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from app.errors import ModelError
from app.model import file_hashes, onnx_model
from app.model.file_hashes import FileHashes
from app.model.self_test import VerifiedModel, load_and_verify
from app.model.transform import Transform
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
    """Return a package with weights whose optimized model is in the directory next to it."""
    path = write_package(tmp_path / "package", models.layers(SIZE), samples=[SAMPLE])
    assert optimize(verify_package(path))
    return path


def load(path: Path, **settings: Any) -> VerifiedModel:
    """Load a package as the service does."""
    return load_and_verify(Settings(model_path=path, **settings).resolved(1), Transform)


def change(path: Path, **values: Any) -> None:
    """Change values in the optimized model's metadata."""
    file = optimized_path(path) / OPTIMIZED_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_served(optimized: Path) -> None:
    """The optimized model has the inputs and outputs of the published one, and returns the same values."""
    verified = load(optimized)
    assert (verified.is_optimized, verified.fallback_reason) == (True, None)
    model = verified.model
    published = onnx_model.load(model.package, Settings(model_path=optimized).resolved(1))
    assert (model.inputs, model.outputs) == (published.inputs, published.outputs)
    rows = {"x": np.random.default_rng(0).standard_normal((5, SIZE)).astype(np.float32)}
    np.testing.assert_allclose(model.infer(rows)["y"], published.infer(rows)["y"], rtol=1e-5)


def test_weights_are_mapped(optimized: Path) -> None:
    """The weights are memory-mapped from their file, so that all workers share them."""
    load(optimized)
    code = (
        "import sys; from pathlib import Path\n"
        "from app.model.self_test import load_and_verify; from app.settings import Settings\n"
        "from app.model.transform import Transform\n"
        "verified = load_and_verify(Settings(model_path=Path(sys.argv[1])).resolved(1), Transform)\n"
        "print(Path('/proc/self/maps').read_text())"
    )
    maps = subprocess.run([sys.executable, "-c", code, optimized], capture_output=True, text=True, check=True)
    assert "package.optimized/weights.bin" in maps.stdout


@pytest.mark.parametrize(
    "widths", [(3, 1000), (30, 300), (1000, 3), (100, 11), (4, 1000), (30, 300, 512, 512), (513, 513, 64)]
)
def test_odd_sizes(tmp_path: Path, widths: tuple[int, ...]) -> None:
    """Weights of any size are aligned in the file: reading misaligned ones would crash the process."""
    path = write_package(tmp_path / "package", models.dense(*widths))
    assert optimize(verify_package(path))
    code = """
import sys
from pathlib import Path
import numpy as np
from app.model.self_test import load_and_verify
from app.model.transform import Transform
from app.settings import Settings
verified = load_and_verify(Settings(model_path=Path(sys.argv[1])).resolved(1), Transform)
for rows in (1, 2, 8):
    verified.model.infer({"x": np.ones((rows, int(sys.argv[2])), np.float32)})
print(verified.is_optimized)
"""
    command = [sys.executable, "-c", code, str(path), str(widths[0])]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "True\n"), run.stderr


def test_not_optimized(package: Path) -> None:
    """A package without an optimized model, and a single ONNX file, are served without a fallback reason."""
    for path in (package, package / "model.onnx"):
        found = load(path)
        assert (found.is_optimized, found.fallback_reason) == (False, None)


def flip_bit(file: Path) -> None:
    """Flip a bit in a file of the same size."""
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)


def swap_models(path: Path) -> None:
    """Replace the optimized model by that of another package, with this package's digest in its metadata."""
    other = write_package(path.with_name("other"), models.layers(SIZE, count=2))
    optimize(verify_package(other))
    metadata = json.loads((optimized_path(path) / OPTIMIZED_FILE).read_text())
    for file in optimized_path(other).iterdir():
        (optimized_path(path) / file.name).write_bytes(file.read_bytes())
    change(path, digest=metadata["digest"])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: change(path, onnxruntime="0.1"), "was optimized for onnxruntime 0.1, not "),
        (lambda path: change(path, cpu_features=["avx"]), "was optimized for cpu_features avx, not "),
        (lambda path: change(path, machine="sparc"), "was optimized for machine sparc, not "),
        (lambda path: change(path, digest="sha256:0"), "was optimized for digest sha256:0, not sha256:"),
        (lambda path: change(path, files={"model.onnx": {}}), "is not an optimized model"),
        (lambda path: (optimized_path(path) / "model.onnx").unlink(), "model.onnx is not what was optimized"),
        (lambda path: (optimized_path(path) / OPTIMIZED_FILE).write_text("{"), "is not an optimized model"),
        (lambda path: (optimized_path(path) / OPTIMIZED_FILE).write_text("[]"), "is not an optimized model"),
        (
            lambda path: (optimized_path(path) / OPTIMIZED_FILE).write_text('{"files": 1}'),
            "is not an optimized model",
        ),
        (lambda path: change(path, files=[1]), "is not an optimized model"),
        (
            lambda path: flip_bit(optimized_path(path) / "weights.bin"),
            "weights.bin is not what was optimized",
        ),
        (swap_models, "sample 0: output 'y'"),
    ],
)
def test_falls_back(optimized: Path, damage: Callable[[Path], None], words: str) -> None:
    """A model optimized for another machine, a broken or a wrong one is not used; the reason is reported."""
    damage(optimized)
    result = load(optimized)
    assert result.fallback_reason
    assert words in result.fallback_reason
    assert not result.is_optimized
    assert result.model.infer({"x": np.ones((1, SIZE), np.float32)})["y"][0, 0] == pytest.approx(6)


def test_other_providers(optimized: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimized model is for the CPU provider; with other providers it is not loaded."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["X", "CPUExecutionProvider"])
    monkeypatch.setattr(onnx_model, "_create_session", lambda *_, **__: pytest.fail("a session was created"))
    package = onnx_model.open_package(optimized)
    settings = Settings(model_path=optimized, providers=("X", "CPUExecutionProvider")).resolved(1)
    assert onnx_model.load_optimized(package, settings, FileHashes(None)) is None


@pytest.mark.parametrize("large_bytes", [1, 2**26])
def test_broken_package(optimized: Path, large_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that does not match its manifest is rejected, even if its optimized model is valid.

    A large file is verified while the model is loaded; what the model then returns does not matter.
    """
    monkeypatch.setattr(file_hashes, "LARGE_BYTES", large_bytes)
    flip_bit(optimized / "model.onnx")
    with pytest.raises(ModelError, match=r"model\.onnx is not what was published"):
        load(optimized)
    shutil.rmtree(optimized_path(optimized))
    (optimized / "model.onnx").write_bytes(models.affine())
    with pytest.raises(ModelError, match=r"model\.onnx is not what was published"):
        load(optimized)


def test_broken_while_loading(optimized: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An optimized model whose large files were changed is not used, although it can be loaded."""
    monkeypatch.setattr(file_hashes, "LARGE_BYTES", 1)
    flip_bit(optimized_path(optimized) / "weights.bin")
    assert "weights.bin is not what was optimized" in (load(optimized).fallback_reason or "")


@pytest.mark.parametrize("is_broken", [False, True])
def test_logged_once(optimized: Path, start_server: StartServer, is_broken: bool) -> None:
    """One log line for all workers reports that the optimized model is not used; a metric shows it, too."""
    if is_broken:
        change(optimized, onnxruntime="0.1")
    server = start_server(optimized, WEB_CONCURRENCY="2").wait_until_ready()
    lines = [line["message"] for line in server.lines() if "as published" in line["message"]]
    assert len(lines) == is_broken
    assert f"\nmodel_optimized {0.0 if is_broken else 1.0}\n" in server.request("GET", "/metrics")[1]
    assert server.stop() == 0
