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
from model_loader.package.draft import draft_package, read_draft
from model_loader.registry.check import check
from model_loader.registry.pull import pull
from model_loader.store import Store, open_store
from tests import models
from tests.model_loader.drafts import SAMPLES, publish, write_draft, write_external


def sample(**changes: object) -> list[dict[str, Any]]:
    """Return the usual sample with other fields."""
    return [SAMPLES[0] | changes]


BAD_FILES: list[tuple[str, Any, str]] = [
    ("manifest.json", {}, r"the model has no name: give --name, or 'name' in manifest.json"),
    ("manifest.json", {"name": "tiny", "metric": {}}, r"unknown field 'metric'; the fields are name, feat"),
    (
        "manifest.json",
        {"name": "tiny", "version": 3},
        r"got nothing; in a draft, schema, version, .* missing",
    ),
    ("manifest.json", {"name": "tiny", "features": ["a"]}, r"expected 2 features, one for each .*, got 1"),
    (
        "manifest.json",
        {"name": "tiny", "assets": ["words.txt"]},
        r"assets names 'words.txt', and there is no",
    ),
    ("manifest.json", {"name": "tiny", "assets": ["../a"]}, r"path '../a' is outside of the package"),
    ("samples.json", "[", r"draft/samples.json is not JSON"),
    ("samples.json", "[" * 100_000, r"draft/samples.json is not JSON"),
    ("samples.json", [], r"samples.json: expected a list of at least one sample"),
    ("samples.json", {"samples": SAMPLES}, r"samples.json: expected a list of samples, got dict"),
    ("samples.json", [*SAMPLES, 3], r"sample 1: expected inputs and outputs"),
    ("samples.json", sample(inputs=[1]), r"sample 0: expected inputs and outputs"),
    ("samples.json", sample(outputs={}), r"sample 0: expected inputs and outputs"),
    ("samples.json", sample(rtol="1"), r"sample 0: expected rtol to be a number .*, got '1'"),
    ("samples.json", sample(rtol=1), r"sample 0: expected rtol to be a number from 0 to below 1, got 1"),
    ("samples.json", sample(atol=-1), r"sample 0: expected atol to be a number of 0 or more, got -1"),
    ("samples.json", sample(source=1), r"sample 0: expected source to be a text, got 1"),
    ("samples.json", '[{"inputs": {"x": NaN}, "outputs": {"y": 1}}]', r"draft/samples.json is not JSON"),
    ("samples.json", sample(tolerance=1), r"sample 0: unknown field 'tolerance'; the fields are inputs, out"),
    ("baseline.json", "nonsense", r"draft/baseline.json is not JSON"),
    (
        "baseline.json",
        {"features": {"c": {"edges": [0, 1], "shares": [1]}}},
        r"no feature 'c'; it has a, b, x",
    ),
    ("schema.json", {"features": {"c": {"type": "number"}}}, r"feature 'c': .* no such feature; it has a, b"),
    ("schema.json", "[1", r"draft/schema.json is not JSON"),
    (
        "model.onnx",
        "nonsense",
        r"draft/model.onnx is not an ONNX model, but a text that begins with 'nonsense'",
    ),
    ("model.onnx", "", r"draft/model.onnx is not an ONNX model: cannot mmap an empty file"),
    (
        "people.csv",
        "a,b",
        r"draft/people.csv is not part of a package: remove it or, .* under 'assets' in man",
    ),
    ("sub/model.pkl", "", r"draft/sub/model.pkl is not part of a package"),
    ("model.sig", "", r"draft/model.sig is not part of a package"),
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
    """Samples of a transformed model have names that the graph does not have; the service checks them."""
    document = [{"inputs": {"text": ["a"]}, "outputs": {"kind": ["b"]}}]
    (draft / "samples.json").write_text(json.dumps(document))
    manifest = json.loads((draft / "manifest.json").read_text())
    (draft / "manifest.json").write_text(json.dumps(manifest | {"transformed": True}))
    with pytest.raises(PackageError, match=r"its samples need a transform; app/transform.py has none"):
        check(draft)
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
    """A directory without a model, and a path that does not exist, are refused."""
    (draft / "model.onnx").rename("elsewhere.onnx")
    with pytest.raises(PackageError, match=r"no model.onnx in draft|no directory draft/model.onnx"):
        publish(Path(name), open_store("file:store"))


@pytest.mark.parametrize("target", ["../secret.bin", "model.onnx", "nowhere"])
@pytest.mark.parametrize("name", ["weights.bin", "sub/weights.bin"])
def test_symbolic_link(draft: Path, store: Store, target: str, name: str) -> None:
    """Symbolic links are refused, wherever they point."""
    (draft / name).parent.mkdir(exist_ok=True)
    (draft / name).symlink_to(target)
    with pytest.raises(
        PackageError, match=r"weights.bin is a symbolic link: replace it with what it points to"
    ):
        publish(draft, store)
    assert store.names("") == []


def test_symbolic_link_to_a_directory(draft: Path) -> None:
    """A link to a directory is refused, not followed."""
    Path("data").mkdir()
    Path("data/model.pkl").touch()
    (draft / "more").symlink_to(Path("data").resolve())
    with pytest.raises(PackageError, match="draft/more is a symbolic link: replace it"):
        read_draft(draft)


def test_name_that_is_not_unicode(draft: Path) -> None:
    """A file whose name is not UTF-8 cannot be stored; the message can be printed."""
    (Path(os.fsdecode(b"draft/words\xff.txt"))).touch()
    with pytest.raises(PackageError, match=r"path 'words\\udcff.txt' is outside .* or cannot be stored"):
        read_draft(draft)


def test_assets(workspace: Path, store: Store) -> None:
    """Files for the transform are part of the package if the manifest names them."""
    draft = write_draft(workspace / "draft", assets=["words/en.txt"], licence="MIT", tags=["new"])
    (draft / "words").mkdir()
    (draft / "words/en.txt").write_text("a b")
    published = publish(draft, store)
    pull(store, published, Path("model"))
    assert (Path("model") / "words/en.txt").read_text() == "a b"
    assert published.manifest.document["licence"] == "MIT"


def test_single_file(workspace: Path, store: Store) -> None:
    """A single file is published with its external data, as model.onnx, under the name that is given."""
    draft = write_external(workspace / "draft", "parts/weights.bin")
    (draft / "model.onnx").rename(draft / "any.onnx")
    (draft / "other.csv").touch()
    with pytest.raises(PackageError, match="the model has no name: give --name"):
        publish(draft / "any.onnx", store)
    published = publish(draft / "any.onnx", store, name="any")
    assert set(published.manifest.files) == {"model.onnx", "parts/weights.bin"}
    pull(store, published, Path("model"))
    assert verify_package(Path("model")).digest == published.digest


def test_draft_as_a_package(draft: Path) -> None:
    """A draft is version 0 of its model; its digest changes with every file and field, not with time."""
    package = draft_package(read_draft(draft))
    assert (str(package), package.manifest.features) == (f"tiny/0@{package.digest}", ("a", "b"))
    assert draft_package(read_draft(draft)).digest == package.digest
    digests = {package.digest}
    for name, content in (("samples.json", json.dumps(SAMPLES * 2)), ("manifest.json", "{}")):
        (draft / name).write_text(content)
        digests.add(draft_package(read_draft(draft)).digest)
    assert len(digests) == 3
    assert draft_package(read_draft(draft)).manifest.name == "draft"


def test_named_pipe(draft: Path, store: Store) -> None:
    """A named pipe is refused, not read."""
    os.mkfifo(draft / "pipe")
    with pytest.raises(PackageError, match="pipe is not a regular file"):
        publish(draft, store)
