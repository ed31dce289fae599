"""Publishing: what is refused, what the manifest says, and what is left when a publisher dies."""

import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import onnx
import pytest

from model_loader.errors import LoaderError, PackageError
from model_loader.package import digest_of, hash_file, verify_package
from model_loader.registry.ledger import read_ledger
from model_loader.registry.publish import publish
from model_loader.registry.pull import pull
from model_loader.registry.versions import find, version_numbers
from model_loader.store import Store, open_store
from tests import models
from tests.model_loader import processes
from tests.model_loader.drafts import SAMPLES, write_draft, write_external
from tests.model_loader.faults import Forgetful
from tests.model_loader.processes import MIB

CONTEXT = multiprocessing.get_context("spawn")


def run(target: Callable[..., None], *args: object) -> int | None:
    """The exit code of a function in a process of its own; a signal is negative."""
    process = CONTEXT.Process(target=target, args=args)
    process.start()
    process.join(120)
    return process.exitcode


def test_manifest(draft: Path, store: Store) -> None:
    """The manifest says what the draft said, what the graph says, and what was uploaded."""
    published = publish(draft, store)
    document = dict(published.manifest.document)
    assert datetime.fromisoformat(document.pop("created")).tzinfo
    assert document == {
        "schema": 1,
        "name": "tiny",
        "version": 1,
        "files": {name: vars(hash_file(draft / name)) for name in ("model.onnx", "samples.json")},
        "inputs": [{"name": "x", "datatype": "FP32", "shape": ["batch", 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": ["batch", 2]}],
        "features": ["a", "b"],
        "metrics": {"accuracy": 0.97, "log_loss": 0.1},
        "publisher": "tester",
    }
    assert store.read("tiny/1/manifest.json") is not None
    assert published.digest == digest_of(published.text)


def test_what_the_trainer_said_is_kept(store: Store, workspace: Path) -> None:
    """All fields of a draft that are the trainer's come through, and arguments go before them."""
    said: dict[str, Any] = {
        "classes": ["no", "yes"],
        "data": {"name": "wine", "rows": 142},
        "training": {"commit": "abc"},
        "parent": 7,
    }
    published = publish(write_draft(workspace / "draft", **said), store)
    assert {field: published.manifest.document[field] for field in said} == said
    published = publish(workspace / "draft", store, name="other", parent=3)
    assert published.path == "other/1"
    assert published.manifest.document["parent"] == 3


def test_versions_count_up(draft: Path, store: Store) -> None:
    """Each version is the next number, with a line in the ledger."""
    published = [publish(draft, store, reason=f"round {n}") for n in (1, 2, 3)]
    assert version_numbers(store, "tiny") == [1, 2, 3]
    entries = read_ledger(store, "tiny").entries
    assert [(e.action, e.version, e.digest, e.by, e.reason) for e in entries] == [
        ("publish", n, published.digest, "tester", f"round {n}")
        for n, published in enumerate(published, start=1)
    ]


def test_store_is_a_triton_repository(draft: Path, store: Store) -> None:
    """A version's directory holds the package and nothing else; what is ours lies beside, under no number."""
    publish(draft, store)
    assert store.names("") == [
        "tiny/1/manifest.json",
        "tiny/1/model.onnx",
        "tiny/1/samples.json",
        "tiny/claims/1.json",
        "tiny/ledger.jsonl",
    ]


def test_numbers_of_others_are_taken(draft: Path, store: Store) -> None:
    """A directory that another tool put into the store is not written into."""
    store.write("tiny/4/model.onnx", b"somebody's", None)
    assert publish(draft, store).path == "tiny/5"


def test_external_data(store: Store, workspace: Path) -> None:
    """A model's weights in files of their own, in directories too, belong to the package."""
    draft = write_external(workspace / "draft", "weights/part.bin")
    published = publish(draft, store)
    pull(store, published, workspace / "model")
    assert set(verify_package(workspace / "model").manifest.files) == {"model.onnx", "weights/part.bin"}


def test_published_again(store: Store, workspace: Path, draft: Path) -> None:
    """What was pulled can be published elsewhere: what the manifest says of the old place is said anew."""
    pull(store, publish(draft, store), workspace / "model")
    published = publish(workspace / "model", open_store("file:elsewhere"), name="copy")
    assert published.path == "copy/1"
    assert published.manifest.metrics == {"accuracy": 0.97, "log_loss": 0.1}


def sample(**changes: object) -> list[dict[str, Any]]:
    """The usual sample with something else in it."""
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
    (".DS_Store", "", r"draft/.DS_Store is hidden: a package holds only what the model needs"),
    (".git/config", "", r"draft/.git is hidden: a package holds only what the model needs"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_bad_draft(draft: Path, name: str, content: Any, message: str) -> None:
    """What is not fit to be published is refused with the culprit, before a number is claimed."""
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
def test_features_fit_no_other_model(workspace: Path, model: bytes, message: str) -> None:
    """Column names need a single input with as many columns."""
    draft = write_draft(workspace / "draft", model)
    with pytest.raises(PackageError, match=message):
        publish(draft, open_store("file:store"))


def test_features_of_any_width(workspace: Path, store: Store) -> None:
    """A model that leaves the number of columns open takes any names; its default input needs none."""
    draft = write_draft(workspace / "draft", models.identity(models.FLOAT, ("n", "columns")))
    assert publish(draft, store).manifest.features == ("a", "b")
    draft = write_draft(workspace / "draft", models.with_default())
    assert publish(draft, store).manifest.features == ("a", "b")


def test_transformed(draft: Path, store: Store) -> None:
    """Samples in the terms of a transform name what the graph does not have; the manifest has to say so."""
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
    """A graph may have onnxruntime-extensions' operators where that is installed; else it is named."""
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
    """A directory without a model, and what is no directory, are named."""
    (draft / "model.onnx").rename("elsewhere.onnx")
    with pytest.raises(PackageError, match=r"no model.onnx in draft|no directory draft/model.onnx"):
        publish(Path(name), open_store("file:store"))


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/hostname", "sub/../../secret.bin", "missing.bin"]
)
def test_external_data_that_escapes(workspace: Path, store: Store, location: str) -> None:
    """A model that names data outside of its directory is refused, in the runtime's own words."""
    (workspace / "secret.bin").write_bytes(bytes(1024 * 4 * 4))
    draft = write_external(workspace / "draft", location)
    (draft / "missing.bin").unlink(missing_ok=True)
    with pytest.raises(PackageError, match=r"External data path"):
        publish(draft, store)
    assert store.names("") == []


@pytest.mark.parametrize("target", ["../secret.bin", "model.onnx", "nowhere"])
@pytest.mark.parametrize("name", ["weights.bin", "sub/weights.bin"])
def test_symbolic_link(draft: Path, store: Store, target: str, name: str) -> None:
    """No symbolic link is followed, wherever it leads."""
    (draft / name).parent.mkdir(exist_ok=True)
    (draft / name).symlink_to(target)
    with pytest.raises(
        PackageError, match=r"weights.bin is a symbolic link: replace it with the file itself"
    ):
        publish(draft, store)
    assert store.names("") == []


def test_named_pipe(draft: Path, store: Store) -> None:
    """Something that cannot be read to an end is refused, not waited for."""
    os.mkfifo(draft / "pipe")
    with pytest.raises(PackageError, match="pipe is not a regular file"):
        publish(draft, store)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda size: bytes(size), "weights.bin changed while it was being published"),
        (lambda size: b"", "weights.bin changed|became shorter while it was being published"),
        (lambda size: b"x" * (size + 1), "weights.bin changed while it was being published"),
    ],
)
def test_changed_while_published(
    workspace: Path, store: Store, change: Callable[[int], bytes], message: str
) -> None:
    """A file that is not what was checked any more is never published."""
    draft = write_external(workspace / "draft")
    weights = draft / "weights.bin"
    weights.write_bytes(b"\1" * weights.stat().st_size)

    def overwrite(path: str, done: int, total: int) -> None:
        if path == "model.onnx":
            weights.write_bytes(change(weights.stat().st_size))

    with pytest.raises(PackageError, match=message):
        publish(draft, store, progress=overwrite)
    assert version_numbers(store, "tiny") == []


def test_shorter_while_read(workspace: Path, store: Store) -> None:
    """A file that ends early while it is on its way is refused, too."""
    draft = write_external(workspace / "draft", columns=8 * 1024)
    weights = draft / "weights.bin"

    def truncate(path: str, done: int, total: int) -> None:
        if path == "weights.bin" and weights.stat().st_size:
            os.truncate(weights, 0)

    with pytest.raises(PackageError, match=r"weights\.bin became shorter while it was being published"):
        publish(draft, store, progress=truncate)
    assert version_numbers(store, "tiny") == []


@pytest.mark.parametrize(
    ("name", "version"), [("claims/1.json", 2), ("manifest.json", 1), ("ledger.jsonl", 1)]
)
def test_lost_answer(draft: Path, store: Store, name: str, version: int) -> None:
    """What was written although nobody said so is not written twice; a number may be skipped."""
    assert publish(draft, Forgetful(store, name)).manifest.version == version
    assert version_numbers(store, "tiny") == [version]
    assert [entry.version for entry in read_ledger(store, "tiny").entries] == [version]


def test_killed_between_operations(draft: Path, store: Store, store_url: str) -> None:
    """Wherever a publisher dies, a gap is left or a whole version, and the next one gets a fresh number.

    It reads the ledger (0), lists (1), claims (2), uploads two files (3, 4), writes the manifest (5), reads
    the ledger (6) and writes it (7).
    """
    assert run(processes.publish_and_die, store_url, draft, 8) == 0
    # Numbers 1, 2 and 3 were claimed by who died at 3, 4 and 5; who died at 6 and 7 had published.
    assert version_numbers(store, "tiny") == [4, 5, 6]
    assert [entry.version for entry in read_ledger(store, "tiny").entries] == [6]
    for version in version_numbers(store, "tiny"):
        pull(store, find(store, "tiny", str(version)), Path("model"))
        assert verify_package(Path("model")).manifest.version == version
    assert publish(draft, store).path == "tiny/7"


@pytest.mark.parametrize("path", ["model.onnx", "weights.bin"])
def test_killed_within_a_file(workspace: Path, store: Store, store_url: str, path: str) -> None:
    """A publisher that dies in the middle of a file leaves a gap."""
    draft = write_external(workspace / "draft", columns=8 * 1024)
    assert run(processes.publish_and_die_within, store_url, draft, path) == -9
    assert version_numbers(store, "tiny") == []
    assert publish(draft, store).path == "tiny/2"
    pull(store, find(store, "tiny", "latest"), workspace / "model")


def test_two_publishers_at_once(draft: Path, store: Store, store_url: str) -> None:
    """In twenty rounds of two publishers, no version is shared and no line of the ledger is lost."""
    barrier = CONTEXT.Barrier(2)
    both = [
        CONTEXT.Process(target=processes.publish_rounds, args=(store_url, draft, 20, barrier))
        for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    published = version_numbers(store, "tiny")
    assert len(published) == 40
    assert sorted(entry.version for entry in read_ledger(store, "tiny").entries) == published


def test_large_files_stream(workspace: Path, store: Store, store_url: str) -> None:
    """A file of 300 MiB goes up and comes down in a part of that memory."""
    publish(write_external(workspace / "small"), store)
    draft = write_external(workspace / "large", columns=300 * MIB // 4096)
    assert run(processes.publish_and_pull_within, store_url, draft, 120 * MIB) == 0
