"""Optimization: the files that are written next to a package, and the models that are refused."""

import json
import re
from pathlib import Path

import onnxruntime
import pytest
from onnx import TensorProto, helper

from model_loader import optimize
from model_loader.errors import PackageError
from model_loader.optimize import prepacked_offsets
from model_loader.package import read_package, verify_package
from model_loader.package.optimized import OPTIMIZED_FILE, cpu_features, find_optimized
from tests import models
from tests.conftest import write_package
from tests.model_loader.command_line import ROOT, Loader

VERSION = onnxruntime.__version__


@pytest.fixture
def package(workspace: Path) -> Path:
    """A package in `model/`, with weights that are large enough to be mapped."""
    return write_package(workspace / "model", models.layers())


def test_optimize(package: Path, loader: Loader) -> None:
    """The optimized model is next to the package, with a record of what it depends on."""
    done = loader("optimize")
    assert done.code == 0
    assert done.out.startswith("optimized tiny/3@sha256:")
    optimized = package.with_name("model.optimized")
    assert sorted(file.name for file in optimized.iterdir()) == ["model.onnx", OPTIMIZED_FILE, "weights.bin"]
    record = json.loads((optimized / OPTIMIZED_FILE).read_text())
    assert record["digest"] == verify_package(package).digest
    assert find_optimized(read_package(package), VERSION) == optimized / "model.onnx"
    assert sorted(path.name for path in package.parent.iterdir()) == ["model", "model.optimized"]


def test_again(package: Path, loader: Loader) -> None:
    """An optimized model that is up to date is kept; a damaged one is written again."""
    loader("optimize")
    weights = package.with_name("model.optimized") / "weights.bin"
    first = weights.stat().st_ino
    assert "already has the optimized model" in loader("optimize").out
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
    """Any kind of model is optimized, or refused with a message."""
    write_package(workspace / "model", model)
    done = loader("optimize")
    assert done.code == 0 or "cannot be optimized" in done.err
    assert "Traceback" not in done.err
    assert bool(find_optimized(read_package(workspace / "model"), VERSION)) == (done.code == 0)
    assert not [path for path in workspace.iterdir() if path.name.startswith(".")]


def test_refused(package: Path, loader: Loader) -> None:
    """A package that was changed is not optimized."""
    (package / "model.onnx").write_bytes(models.affine())
    done = loader("optimize")
    assert (done.code, done.out) == (1, "")
    assert "is not what was published" in done.err
    assert not package.with_name("model.optimized").exists()


def test_large(package: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that would start more slowly is optimized on request only, and then kept."""
    monkeypatch.setattr(optimize, "MAX_BYTES", 1000)
    done = loader("optimize")
    assert (done.code, done.out) == (1, "")
    assert "would start more slowly than as published; --large" in done.err
    assert not package.with_name("model.optimized").exists()
    assert loader("optimize", "--large").code == 0
    assert "already has the optimized model" in loader("optimize").out
    (package.with_name("model.optimized") / "weights.bin").write_bytes(b"")
    assert loader("optimize").code == 1
    assert not package.with_name("model.optimized").exists()


def test_interrupted(package: Path, loader: Loader) -> None:
    """Files of an interrupted optimization are removed."""
    staging = package.with_name(".model.optimized")
    staging.mkdir()
    (staging / "model.onnx").write_bytes(b"half")
    assert loader("optimize").code == 0
    assert not staging.exists()


def test_prepacked_offsets(package: Path, loader: Loader) -> None:
    """All locations of pre-packed weights in a file of this ONNX Runtime are read, and are aligned."""
    loader("optimize")
    content = (package.with_name("model.optimized") / "model.onnx").read_bytes()
    offsets = prepacked_offsets(content)
    assert len(offsets) == content.count(b"prepacked") == 3
    assert all(offset % 64 == 0 for offset in offsets)
    assert prepacked_offsets(models.affine()) == []


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [(rb"\|(\d+);(\d+);", rb"|\1,\2;"), (rb"prepacked_\d", b"prepackedA0"), (rb"\|(\d+);", rb"|0x\1;")],
)
def test_unknown_format(package: Path, loader: Loader, pattern: bytes, replacement: bytes) -> None:
    """A location that cannot be read is an error, even if the others can be read."""
    loader("optimize")
    content = (package.with_name("model.optimized") / "model.onnx").read_bytes()
    changed = re.sub(pattern, replacement, content, count=1)
    assert changed != content
    with pytest.raises(PackageError, match=r"expected 3 locations, one for each 'prepacked' .*, found 2"):
        prepacked_offsets(changed)


def test_unknown_format_is_not_optimized(
    package: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that ONNX Runtime saves in an unknown format is not optimized: it is served as published."""
    monkeypatch.setattr(optimize, "_ENTRY", re.compile(b"(another format)"))
    done = loader("optimize")
    assert (done.code, done.out) == (1, "")
    assert "cannot be optimized: this version of ONNX Runtime saves pre-packed weights" in done.err
    assert [path.name for path in package.parent.iterdir()] == ["model"]


def test_private_format() -> None:
    """The format in which ONNX Runtime saves pre-packed weights is private; only one module may know it."""
    packages = ("app", "model_loader", "release", "training", "examples")
    modules = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert [path for path in modules if 'b"prepacked' in path.read_text()] == [Path(optimize.__file__)]


def test_cpu_features(tmp_path: Path) -> None:
    """The flags of the first processor that select kernels; empty if the file is missing."""
    file = tmp_path / "cpuinfo"
    file.write_text("processor: 0\nflags\t\t: fpu sse2 avx2 tsc fma\nflags\t: avx512f\n")
    assert cpu_features(file) == ["avx2", "fma", "sse2"]
    file.write_text("Features\t: fp asimd crc32 asimddp\n")
    assert cpu_features(file) == ["asimd", "asimddp"]
    assert cpu_features(tmp_path / "none") == []
