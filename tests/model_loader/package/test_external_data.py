"""External data: found wherever a graph can name it, and never loaded from outside the manifest."""

import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import GraphProto, NodeProto, SparseTensorProto, TensorProto, helper

from model_loader.errors import PackageError
from model_loader.package import bare_package, encode, hash_file, verify_package
from model_loader.package.draft import read_draft
from model_loader.package.external_data import external_files
from tests import models
from tests.model_loader.drafts import write_draft, write_external


def tensor(location: str) -> TensorProto:
    """Return a tensor with external data."""
    found = TensorProto(name=location, data_type=TensorProto.FLOAT, dims=[1])
    found.data_location = TensorProto.EXTERNAL
    found.external_data.add(key="offset", value="0")
    found.external_data.add(key="location", value=location)
    return found


def sparse(location: str) -> SparseTensorProto:
    """Return a sparse tensor with external data."""
    return SparseTensorProto(values=tensor(f"{location}v"), indices=tensor(f"{location}i"), dims=[2])


def node(**attributes: Any) -> NodeProto:
    """Return a node with attributes."""
    return helper.make_node("Constant", [], ["c"], **attributes)


def nested(depth: int) -> GraphProto:
    """Return a graph in a graph in a graph, with a tensor in the innermost."""
    graph = GraphProto(initializer=[tensor("deep")])
    for _ in range(depth):
        graph = GraphProto(node=[helper.make_node("If", [], [], then_branch=graph)])
    return graph


def nested_bytes(depth: int) -> bytes:
    """Return a model with graphs that are nested deeper than protobuf's own parsers allow."""
    content = b"location"
    for number in (6, 5, 1) * depth + (7,):
        length = len(content)
        content = bytes([number << 3 | 2, length & 0x7F | 0x80, length >> 7]) + content
    return content


def test_everywhere(tmp_path: Path) -> None:
    """Initializers, sparse ones, attributes of every kind, sub-graphs, functions and training are read."""
    graph = GraphProto(
        name="location",
        initializer=[tensor("a"), tensor("a")],
        sparse_initializer=[sparse("b")],
        node=[node(value=tensor("c")), node(sparse_value=sparse("d")), *nested(3).node],
    )
    graph.node[0].attribute[0].tensors.extend([tensor("e")])
    graph.node[0].attribute[0].sparse_tensors.extend([sparse("f")])
    graph.node[0].attribute[0].graphs.extend([GraphProto(initializer=[tensor("g")])])
    model = onnx.ModelProto(ir_version=10, graph=graph)
    model.functions.add(name="f").node.extend([node(value=tensor("h"))])
    model.functions[0].attribute_proto.extend(node(value=tensor("i")).attribute)
    model.training_info.add().algorithm.CopyFrom(GraphProto(initializer=[tensor("./j/k")]))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    expected = ["a", "bi", "bv", "c", "deep", "di", "dv", "e", "fi", "fv", "g", "h", "i", "j/k"]
    assert external_files(tmp_path / "model.onnx") == expected


def test_merged_messages(tmp_path: Path) -> None:
    """A tensor in two messages, of which only the second says that its data is external, counts."""
    first, second = tensor("w"), TensorProto(data_location=TensorProto.EXTERNAL)
    first.ClearField("data_location")
    attribute = helper.make_attribute("value", first).SerializeToString()
    attribute += b"\x2a" + bytes([second.ByteSize()]) + second.SerializeToString()
    content = onnx.AttributeProto.FromString(attribute)
    assert content.t.data_location == TensorProto.EXTERNAL
    inner = b"\x2a" + bytes([len(attribute)]) + attribute
    graph = b"\x0a" + bytes([len(inner)]) + inner
    (tmp_path / "model.onnx").write_bytes(b"\x3a" + bytes([len(graph)]) + graph)
    assert external_files(tmp_path / "model.onnx") == ["w"]


@pytest.mark.parametrize(
    "model", [models.affine(), models.layers(), models.quantized(), models.sequence(), models.vectorizer(7)]
)
def test_without(tmp_path: Path, model: bytes) -> None:
    """Ordinary models have no external data."""
    (tmp_path / "model.onnx").write_bytes(model)
    assert external_files(tmp_path / "model.onnx") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an ONNX model: cannot mmap an empty file"),
        (b"location" + models.affine(), "is not an ONNX model"),
        (b"\x3a\xff\xff\xff\xff\x0f location", "is not an ONNX model: a field of .* is cut off"),
        (b"\x3b location", "is not an ONNX model: a field at byte .* cannot be parsed"),
        (b"\x3a" + b"\xff" * 10 + b"location", "is not an ONNX model: a number at byte .* is cut off"),
        (nested_bytes(40), "messages are nested more than 100 deep"),
    ],
)
def test_hostile_file(tmp_path: Path, content: bytes, message: str) -> None:
    """Bytes that are not a model raise PackageError."""
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(PackageError, match=message):
        external_files(tmp_path / "model.onnx")


LOCATIONS = [
    ("model.sig", "external data 'model.sig' has the name of a file that no manifest lists"),
    ("manifest.json", "external data 'manifest.json' has the name of a file that no manifest lists"),
    ("../secret.bin", "external data '../secret.bin': path '../secret.bin' is outside of the package"),
    ("sub/../../secret.bin", "external data 'sub/../../secret.bin': path .* is outside"),
    ("/etc/hostname", "external data '/etc/hostname': path '/etc/hostname' is outside"),
    ("*/_ORT_MEM_ADDR_/*", "is outside of the package directory or cannot be stored"),
    ("missing.bin", "external data 'missing.bin' is missing: copy it next to the model under this name"),
]


@pytest.mark.parametrize(("location", "message"), LOCATIONS)
def test_refused_in_a_draft(tmp_path: Path, location: str, message: str) -> None:
    """A draft, and a single file, whose model loads something else is refused by name."""
    (tmp_path / "secret.bin").write_bytes(bytes(1024 * 4 * 4))
    draft = write_external(tmp_path / "draft", location)
    (draft / "missing.bin").unlink(missing_ok=True)
    (draft / "manifest.json").write_text("{}")
    for read in (lambda: read_draft(draft), lambda: bare_package(draft / "model.onnx")):
        with pytest.raises(PackageError, match=message):
            read()


@pytest.mark.parametrize("location", [location for location, _ in LOCATIONS])
def test_refused_in_a_package(tmp_path: Path, location: str) -> None:
    """A published package whose model loads a file that its manifest does not list is refused by name."""
    package = write_external(tmp_path / "package", location)
    document = {"schema": 1, "name": "tiny", "version": 1, "created": "2026-01-01T00:00:00Z"}
    files = {"model.onnx": vars(hash_file(package / "model.onnx"))}
    (package / "manifest.json").write_bytes(encode({**document, "files": files, "inputs": [], "outputs": []}))
    with pytest.raises(PackageError, match=r"model\.onnx loads '.*', which is not in the manifest"):
        verify_package(package)


def test_link_out_of_the_directory(tmp_path: Path) -> None:
    """External data of a single file is not read through a link to another directory."""
    draft = write_external(tmp_path / "draft")
    shutil.move(draft / "weights.bin", tmp_path / "weights.bin")
    (draft / "weights.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(PackageError, match=r"'weights.bin' is outside of the directory of the model"):
        bare_package(draft / "model.onnx")


def test_digest_of_a_single_file(tmp_path: Path) -> None:
    """The digest of a single file covers its external data."""
    draft = write_external(tmp_path / "draft")
    first = bare_package(draft / "model.onnx")
    assert set(first.manifest.files) == {"model.onnx", "weights.bin"}
    with (draft / "weights.bin").open("r+b") as weights:
        weights.write(b"\1")
    assert bare_package(draft / "model.onnx").digest != first.digest
    plain = write_draft(tmp_path / "plain") / "model.onnx"
    assert bare_package(plain).digest == f"sha256:{hash_file(plain).sha256}"
