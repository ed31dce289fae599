"""ONNX Runtime reads what the pinned onnx writes; what it cannot load is explained."""

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from model_loader.package.load_errors import explain
from model_loader.package.ort_errors import ORT_ERRORS
from tests import models

LOCALE = "Failed to construct locale with name:en_US.UTF-8:"
OPERATOR = "Fatal error: {}:BertTokenizer(-1) is not a registered function/op"


def identity(opset: int, ir_version: int, domain: str = "") -> bytes:
    """Return a model of y = x in a version of the format."""
    model = onnx.load_from_string(models.identity(models.FLOAT))
    kept = [item for item in model.opset_import if item.domain not in (domain, "ai.onnx.ml")]
    del model.opset_import[:]
    model.opset_import.extend([*kept, helper.make_opsetid(domain, opset)])
    model.ir_version = ir_version
    data: bytes = model.SerializeToString()
    return data


def load(model: bytes) -> "onnxruntime.InferenceSession":
    """Load a model with the pinned ONNX Runtime, without its own lines on standard error."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def test_newest_versions() -> None:
    """The pinned ONNX Runtime reads the newest IR version and opsets that the pinned onnx writes."""
    (_, ir_version, opset, ml_opset, *_) = helper.VERSION_TABLE[-1]
    assert (ir_version, opset) == (onnx.IR_VERSION, onnx.defs.onnx_opset_version())
    for domain, newest in (("", opset), ("ai.onnx.ml", ml_opset)):
        session = load(identity(newest, ir_version, domain))
        assert [node.name for node in session.get_outputs()] == ["y"]


@pytest.mark.parametrize(
    ("opset", "ir_version", "domain", "words"),
    [
        (20, 99, "", ["IR version 99", "reads up to ", "export it with ir_version="]),
        (99, 10, "", ["opset 99 of ai.onnx", "reads up to ", "opset_version=", "target_opset="]),
        (99, 10, "ai.onnx.ml", ["opset 99 of ai.onnx.ml", "target_opset={'': …, 'ai.onnx.ml': "]),
    ],
)
def test_too_new(opset: int, ir_version: int, domain: str, words: list[str]) -> None:
    """The message has the limit, the exporter's argument that keeps below it, and the line to upgrade."""
    with pytest.raises(ORT_ERRORS) as caught:
        load(identity(opset, ir_version, domain))
    text = explain(caught.value)
    assert all(word in text for word in [*words, "the line onnxruntime of requirements.in"]), text


def test_locale() -> None:
    """A locale that the system does not have: the message has the one to use, and how to set it."""
    node = helper.make_node(
        "StringNormalizer", ["x"], ["y"], case_change_action="LOWER", is_case_sensitive=1, locale="xx_XX"
    )
    text = TensorProto.STRING
    model = models.model([node], [models.tensor("x", text, ["n"])], [models.tensor("y", text, ["n"])])
    with pytest.raises(ORT_ERRORS) as caught:
        load(model)
    assert "locale xx_XX, which this system does not have" in explain(caught.value)
    assert "{'locale': 'C.UTF-8'}" in explain(caught.value)
    node.attribute[-1].s = b"C.UTF-8"
    model = models.model([node], [models.tensor("x", text, ["n"])], [models.tensor("y", text, ["n"])])
    assert load(model).run(None, {"x": ["ÄB"]})[0].tolist() == ["äb"]


@pytest.mark.parametrize("domain", ["ai.onnx.contrib", "com.microsoft.extensions"])
def test_operators_of_extensions(domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators of onnxruntime-extensions: the message names the package, in both of its domains."""
    model = onnx.load_from_string(models.identity(TensorProto.STRING))
    model.graph.node[0].domain = domain
    model.graph.node[0].op_type = "BertTokenizer"
    model.opset_import.append(helper.make_opsetid(domain, 1))
    with pytest.raises(ORT_ERRORS) as caught:
        load(model.SerializeToString())
    assert "onnxruntime-extensions" not in explain(caught.value)
    monkeypatch.setattr("model_loader.package.load_errors.find_spec", lambda _: None)
    text = explain(caught.value)
    assert "add the line onnxruntime-extensions to requirements-own.in and run ./scripts/lock" in text


def test_other_errors() -> None:
    """Any other message stays as it is."""
    assert explain(RuntimeError("out of memory\n")) == "out of memory"
