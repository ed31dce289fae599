"""onnxruntime-extensions: imported for the models that need it only."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from model_loader.package.onnx_file import opset_domains
from tests import models

ROOT = Path(__file__).parents[3]
DOMAINS = ["ai.onnx.contrib", "com.microsoft.extensions"]


def lower(domain: str) -> bytes:
    """Return a model that converts texts to lower case, by an operator of a domain."""
    text, lowered = (models.tensor(name, TensorProto.STRING, ["n"]) for name in ("x", "y"))
    node = helper.make_node("StringLower", ["x"], ["y"], domain=domain)
    model = onnx.load_from_string(models.model([node], [text], [lowered]))
    model.opset_import.append(helper.make_opsetid(domain, 1))
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize("domain", ["", *DOMAINS])
def test_import(domain: str, tmp_path: Path) -> None:
    """The package is imported if the model has one of its domains."""
    (tmp_path / "model.onnx").write_bytes(lower(domain) if domain else models.affine())
    code = """if True:
        import sys
        from pathlib import Path
        from onnxruntime import SessionOptions
        from model_loader.package.custom_ops import register_extensions

        register_extensions(SessionOptions(), Path(sys.argv[1]))
        print("onnxruntime_extensions" in sys.modules)
    """
    command = [sys.executable, "-c", code, str(tmp_path / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == f"{bool(domain)}\n"


def test_domains_of_functions(tmp_path: Path) -> None:
    """Domains that only a function imports are found too."""
    model = helper.make_model(
        helper.make_graph([], "g", [], []),
        functions=[helper.make_function("own", "f", [], [], [], [helper.make_opsetid(DOMAINS[0], 1)])],
    )
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert DOMAINS[0].encode() in opset_domains(tmp_path / "model.onnx")


@pytest.mark.parametrize("data", [b"no model", b"\xff" * 20, models.affine()[:-3]])
def test_no_model(data: bytes, tmp_path: Path) -> None:
    """A file that is not a model has no domains: ONNX Runtime says what is wrong with it."""
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(ValueError, match=r"cut off|cannot be parsed"):
        opset_domains(tmp_path / "model.onnx")
