"""Baking: what is written beside a package, and when."""

import json
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from model_loader.package import read_package, verify_package
from model_loader.package.optimized import OPTIMIZED_FILE, cpu_features, find_optimized
from tests import models
from tests.conftest import write_package
from tests.model_loader.seen import Loader

VERSION = __import__("onnxruntime").__version__


@pytest.fixture
def package(workspace: Path) -> Path:
    """A package with weights worth mapping, as `model/`."""
    return write_package(workspace / "model", models.layers())


def test_optimize(package: Path, loader: Loader) -> None:
    """The form lies beside the package, whole, with what it was made for; the package stays as it was."""
    done = loader("optimize")
    assert done.code == 0
    assert done.out.startswith("optimized tiny/3@sha256:")
    optimized = package.with_name("model.optimized")
    assert sorted(file.name for file in optimized.iterdir()) == ["model.onnx", OPTIMIZED_FILE, "weights.bin"]
    note = json.loads((optimized / OPTIMIZED_FILE).read_text())
    assert note["digest"] == verify_package(package).digest
    assert find_optimized(read_package(package), VERSION) == optimized / "model.onnx"
    assert sorted(path.name for path in package.parent.iterdir()) == ["model", "model.optimized"]


def test_again(package: Path, loader: Loader) -> None:
    """What is baked already stays; what was baked of another model, or is broken, is baked anew."""
    loader("optimize")
    weights = package.with_name("model.optimized") / "weights.bin"
    first = weights.stat().st_ino
    assert "optimized already" in loader("optimize").out
    assert weights.stat().st_ino == first
    weights.write_bytes(b"")
    assert loader("optimize", "model", "--json").out.endswith('"changed": true\n}\n')
    assert weights.stat().st_size > 0


@pytest.mark.parametrize(
    "model",
    [
        models.affine(),
        models.with_default(),
        models.total(),
        models.sequence(),
        models.optional(),
        models.gather(),
        models.vectorizer(TensorProto.STRING, string_vocabulary=["a", "b"]),
        models.model(
            [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
            [models.tensor("x", shape=("batch", 16, 8, 8))],
            [models.tensor("y", shape=("batch", 16, 8, 8))],
            [helper.make_tensor("w", TensorProto.FLOAT, [16, 16, 3, 3], [0.5] * 16 * 16 * 9)],
        ),
    ],
)
def test_every_kind(workspace: Path, loader: Loader, model: bytes) -> None:
    """Small models, defaults, sequences, optionals, strings and convolutions: baked, or refused in words."""
    write_package(workspace / "model", model)
    done = loader("optimize")
    assert done.code == 0 or "cannot be optimized" in done.err
    assert "Traceback" not in done.err
    assert bool(find_optimized(read_package(workspace / "model"), VERSION)) == (done.code == 0)
    assert not [path for path in workspace.iterdir() if path.name.startswith(".")]


def test_refused(package: Path, loader: Loader) -> None:
    """Only a whole package is baked."""
    (package / "model.onnx").write_bytes(models.affine())
    done = loader("optimize")
    assert (done.code, done.out) == (1, "")
    assert "is not what was published" in done.err
    assert not package.with_name("model.optimized").exists()


def test_left_over(package: Path, loader: Loader) -> None:
    """What a bake that died has left is no hindrance."""
    rest = package.with_name(".model.optimized")
    rest.mkdir()
    (rest / "model.onnx").write_bytes(b"half")
    assert loader("optimize").code == 0
    assert not rest.exists()


def test_cpu_features(tmp_path: Path) -> None:
    """Of the first processor's flags, those that kernels are chosen by; none where there is no such file."""
    file = tmp_path / "cpuinfo"
    file.write_text("processor: 0\nflags\t\t: fpu sse2 avx2 tsc fma\nflags\t: avx512f\n")
    assert cpu_features(file) == ["avx2", "fma", "sse2"]
    file.write_text("Features\t: fp asimd crc32 asimddp\n")
    assert cpu_features(file) == ["asimd", "asimddp"]
    assert cpu_features(tmp_path / "none") == []
