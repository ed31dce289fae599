"""Drafts: packages that cannot be published, and why."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from model_loader.errors import LoaderError, PackageError
from model_loader.package import verify_package
from model_loader.registry.publish import publish
from model_loader.registry.pull import pull
from model_loader.store import Store, open_store
from tests import models
from tests.model_loader.drafts import SAMPLES, write_draft, write_external


def sample(**changes: object) -> list[dict[str, Any]]:
    """Return the usual sample with other fields."""
    return [SAMPLES[0] | changes]


BAD_FILES: list[tuple[str, Any, str]] = [
    ("manifest.json", "{", r"draft/manifest.json is not JSON"),
    ("manifest.json", [], r"manifest.json: expected an object, got list"),
    ("manifest.json", {}, r"the model has no name: give --name, or 'name' in manifest.json"),
    ("manifest.json", {"name": "../escape"}, r"expected the name of a model, .*, got '../escape'"),
    ("manifest.json", {"name": 3}, r"expected 'name' to be str, got int"),
    (
        "manifest.json",
        {"name": "tiny", "metric": {}},
        r"unknown field 'metric'; the fields are name, features",
    ),
    ("manifest.json", {"name": "tiny", "parent": True}, r"expected 'parent' to be int, got bool"),
    ("manifest.json", {"name": "tiny", "metrics": []}, r"expected 'metrics' to be dict, got list"),
    ("manifest.json", {"name": "tiny", "metrics": {"a": "1"}}, r"metrics\['a'\] to be a finite .*, got '1'"),
    (
        "manifest.json",
        {"name": "tiny", "metrics": {"a": True}},
        r"metrics\['a'\] to be a finite .*, got True",
    ),
    ("manifest.json", {"name": "tiny", "metrics": {"a": float("nan")}}, r"metrics\['a'\] .*, got nan"),
    ("manifest.json", '{"name": "tiny", "metrics": {"a": 1e999}}', r"metrics\['a'\] .*, got inf"),
    ("manifest.json", {"name": "tiny", "data": {"mean": float("inf")}}, r"cannot be written as JSON"),
    (
        "manifest.json",
        {"name": "tiny", "training": {"finished": "today"}},
        r"manifest.json: expected .*'today'",
    ),
    (
        "manifest.json",
        {"name": "tiny", "features": ["a"]},
        r"expected 2 features, one for each column .*, got 1",
    ),
    ("manifest.json", {"name": "tiny", "features": ["a", "a"]}, r"expected features to be different names"),
    ("manifest.json", {"name": "tiny", "features": ["a", 1]}, r"expected features to be different names"),
    ("samples.json", "[", r"draft/samples.json is not JSON"),
    ("samples.json", "[" * 100_000, r"draft/samples.json is not JSON"),
    ("samples.json", [], r"samples.json: expected a list of at least one sample"),
    ("samples.json", {"samples": SAMPLES}, r"samples.json: expected a list of samples, got dict"),
    ("samples.json", [*SAMPLES, 3], r"sample 1: expected inputs and outputs"),
    ("samples.json", sample(inputs=[1]), r"sample 0: expected inputs and outputs"),
    ("samples.json", sample(outputs={}), r"sample 0: expected inputs and outputs"),
    ("samples.json", sample(inputs={"z": 1}), r"sample 0: the model has no input 'z'; it has x"),
    ("samples.json", sample(inputs={}), r"sample 0: input 'x' is missing"),
    ("samples.json", sample(outputs={"z": 1}), r"sample 0: the model has no output 'z'; it has y"),
    ("samples.json", sample(rtol="1"), r"sample 0: expected rtol and atol .*, got rtol = '1'"),
    ("samples.json", sample(atol=-1), r"sample 0: expected rtol and atol .*, got atol = -1"),
    ("samples.json", '[{"inputs": {"x": NaN}, "outputs": {"y": 1}}]', r"draft/samples.json is not JSON"),
    ("samples.json", sample(tolerance=1), r"sample 0: expected rtol and atol .*, got tolerance = 1"),
    ("baseline.json", "nonsense", r"draft/baseline.json is not JSON"),
    ("model.onnx", "nonsense", r"ONNX Runtime cannot load draft/model.onnx: .*Protobuf parsing failed"),
    ("a\\b.bin", "", r"path 'a\\\\b.bin' is outside of the package directory or cannot be stored"),
    ("C:b.bin", "", r"path 'C:b.bin' is outside of the package directory or cannot be stored"),
    (".DS_Store", "", r"draft/.DS_Store is hidden: a package has only what the model needs"),
    (".git/config", "", r"draft/.git is hidden: a package has only what the model needs"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_bad_draft(draft: Path, name: str, content: Any, message: str) -> None:
    """An invalid draft is refused with the name of the invalid part, before a version is claimed."""
    store = open_store("file:store")
    (Path("draft") / name).parent.mkdir(exist_ok=True)
    (Path("draft") / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(LoaderError, match=message):
        publish(Path("draft"), store)
    assert store.names("") == []


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (models.total(), "features name the columns of a single two-dimensional input"),
        (models.identity(models.FLOAT, ()), "features name the columns of a single two-dimensional input"),
        (
            models.identity(models.FLOAT, ("n", 3)),
            "expected 3 features, one for each column of input 'x', got 2",
        ),
    ],
)
def test_features_of_another_model(workspace: Path, model: bytes, message: str) -> None:
    """Features are refused if the model does not have a single input with this number of columns."""
    draft = write_draft(workspace / "draft", model)
    with pytest.raises(PackageError, match=message):
        publish(draft, open_store("file:store"))


def test_features_of_any_width(workspace: Path, store: Store) -> None:
    """A model with any number of columns takes any features, and inputs with defaults are ignored."""
    draft = write_draft(workspace / "draft", models.identity(models.FLOAT, ("n", "columns")))
    assert publish(draft, store).manifest.features == ("a", "b")
    draft = write_draft(workspace / "draft", models.with_default())
    assert publish(draft, store).manifest.features == ("a", "b")


def test_transformed(draft: Path, store: Store) -> None:
    """Samples of a transformed model can have names that the graph does not have, if the manifest says so."""
    document = [{"inputs": {"text": ["a"]}, "outputs": {"kind": ["b"]}}]
    (draft / "samples.json").write_text(json.dumps(document))
    with pytest.raises(PackageError, match="sample 0: the model has no input 'text'; it has x"):
        publish(draft, store)
    manifest = json.loads((draft / "manifest.json").read_text())
    (draft / "manifest.json").write_text(json.dumps(manifest | {"transformed": "yes"}))
    with pytest.raises(PackageError, match="expected 'transformed' to be bool, got str"):
        publish(draft, store)
    (draft / "manifest.json").write_text(json.dumps(manifest | {"transformed": True}))
    published = publish(draft, store)
    assert published.manifest.transformed
    pull(store, published, Path("model"))
    assert verify_package(Path("model")).manifest.transformed
    (draft / "samples.json").write_text(json.dumps([{"inputs": {"text": ["a"]}, "outputs": {}}]))
    with pytest.raises(PackageError, match="sample 0: expected inputs and outputs"):
        publish(draft, store)


def test_extension_operators(workspace: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators of onnxruntime-extensions can be used if it is installed; otherwise the message names it."""
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21, "com.microsoft.extensions": 1]>
    decode (uint8[n] file) => (uint8[h, w, 3] y) { y = com.microsoft.extensions.DecodeImage(file) }""")
    draft = workspace / "draft"
    draft.mkdir()
    (draft / "model.onnx").write_bytes(model.SerializeToString())
    published = publish(draft, store, name="decode")
    assert [spec["datatype"] for spec in published.manifest.inputs] == ["UINT8"]
    monkeypatch.setitem(sys.modules, "onnxruntime_extensions", None)
    with pytest.raises(PackageError, match="are part of onnxruntime-extensions, which is not installed"):
        publish(draft, store, name="decode")


@pytest.mark.parametrize("name", ["draft", "draft/model.onnx"])
def test_nothing_to_publish(draft: Path, name: str) -> None:
    """A directory without a model, and a path that is not a directory, are refused."""
    (draft / "model.onnx").rename("elsewhere.onnx")
    with pytest.raises(PackageError, match=r"no model.onnx in draft|no directory draft/model.onnx"):
        publish(Path(name), open_store("file:store"))


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/hostname", "sub/../../secret.bin", "missing.bin"]
)
def test_external_data_that_escapes(workspace: Path, store: Store, location: str) -> None:
    """A model with external data outside of its directory is refused, with ONNX Runtime's message."""
    (workspace / "secret.bin").write_bytes(bytes(1024 * 4 * 4))
    draft = write_external(workspace / "draft", location)
    (draft / "missing.bin").unlink(missing_ok=True)
    with pytest.raises(PackageError, match=r"External data path"):
        publish(draft, store)
    assert store.names("") == []


@pytest.mark.parametrize("target", ["../secret.bin", "model.onnx", "nowhere"])
@pytest.mark.parametrize("name", ["weights.bin", "sub/weights.bin"])
def test_symbolic_link(draft: Path, store: Store, target: str, name: str) -> None:
    """Symbolic links are refused, wherever they point."""
    (draft / name).parent.mkdir(exist_ok=True)
    (draft / name).symlink_to(target)
    with pytest.raises(
        PackageError, match=r"weights.bin is a symbolic link: replace it with the file itself"
    ):
        publish(draft, store)
    assert store.names("") == []


def test_named_pipe(draft: Path, store: Store) -> None:
    """A named pipe is refused, not read."""
    os.mkfifo(draft / "pipe")
    with pytest.raises(PackageError, match="pipe is not a regular file"):
        publish(draft, store)
