"""Drafts that lie: refused by `check` and by `publish`, by name, with nothing changed in the store."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from model_loader.registry import check
from model_loader.store import open_store
from tests import models
from tests.model_loader.command_line import Loader
from tests.model_loader.drafts import SAMPLES, publish, write_draft, write_external

Lie = Callable[[Path], object]


def write(name: str, document: Any) -> Lie:
    """Return a function that writes a file of a draft."""
    return lambda draft: (draft / name).write_text(json.dumps(document))


def sample(inputs: Any, outputs: Any, **others: Any) -> Lie:
    """Return a function that writes a second sample of x and y."""
    return write("samples.json", [*SAMPLES, {"inputs": {"x": inputs}, "outputs": {"y": outputs}, **others}])


def two_inputs(draft: Path) -> None:
    """Write a model of y = a + b, and a sample in which `n` has two sizes."""
    ends = (
        [models.tensor("a", shape=["n"]), models.tensor("b", shape=["n"])],
        [models.tensor("y", shape=["n"])],
    )
    write_draft(draft, models.model([helper.make_node("Add", ["a", "b"], ["y"])], *ends))
    write("manifest.json", {"name": "tiny"})(draft)
    write("samples.json", [{"inputs": {"a": [1, 2], "b": [3]}, "outputs": {"y": [4, 5]}}])(draft)


def missing_data(draft: Path) -> None:
    """Write a model without its external data file."""
    (draft / "samples.json").unlink()
    (write_external(draft) / "weights.bin").unlink()


def other_data(draft: Path) -> None:
    """Write a model with an external data file that is too short."""
    (draft / "samples.json").unlink()
    (write_external(draft) / "weights.bin").write_bytes(b"short")


def another_model(draft: Path) -> None:
    """Replace the model by one with other names."""
    ends = [models.tensor("u")], [models.tensor("v")]
    (draft / "model.onnx").write_bytes(models.model([helper.make_node("Identity", ["u"], ["v"])], *ends))


def integer_model(draft: Path) -> None:
    """Replace the model by one of another type."""
    (draft / "model.onnx").write_bytes(models.identity(TensorProto.STRING, ("batch", 2)))


def edges(**features: Any) -> Lie:
    """Return a function that writes a baseline of some features."""
    bins = {"edges": [0, 1], "shares": [1]}
    return write("baseline.json", {"features": dict.fromkeys(features, bins)})


LIES: dict[str, tuple[Lie, str]] = {
    "wrong type": (sample([["a", 2]], [[3, 5]]), "sample 1 .* input 'x': expected FP32 .*, got 'a' at"),
    "CSV as the model": (
        lambda draft: (draft / "model.onnx").write_text("a,b\n1,2\n"),
        "draft/model.onnx is not an ONNX model, but CSV, which is data",
    ),
    "pointer of Git LFS": (
        lambda draft: (draft / "model.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid"),
        "draft/model.onnx is not an ONNX model, but a pointer of Git LFS; get the file itself: git lfs pull",
    ),
    "wrong shape": (sample([[1, 2, 3]], [[3, 5]]), r"sample 1 .* input 'x': .*, got shape \[1, 3\]"),
    "wrong input": (another_model, "sample 0 .* unknown input 'x'; the model has 'u'"),
    "wrong answer": (sample([[1, 2]], [[3, 6]]), "sample 1: output 'y': expected .*6.*, got"),
    "wrong output": (
        write("samples.json", [SAMPLES[0] | {"outputs": {"z": [[3, 5]]}}]),
        "sample 0: the model has no output 'z'; it has y",
    ),
    "type of an output": (sample([[1, 2]], [["3", "5"]]), "sample 1: output 'y': expected FP32 .*, got '3'"),
    "rows of an output": (
        sample([[1, 2]], [[3, 5], [3, 5]]),
        r"sample 1: output 'y': the sample has the shape \[2, 2\], the model returns \[1, 2\]",
    ),
    "input out of range": (
        sample([[1e40, 2]], [[3, 5]]),
        r"sample 1 .* 'x': .* 1e\+40 at \[0, 0\], out of r",
    ),
    "output out of range": (
        sample([[1, 2]], [[1e40, 5]]),
        r"sample 1: output 'y': .* 1e\+40 at \[0, 0\], out",
    ),
    "two sizes": (two_inputs, r"sample 0 .* input 'b': .* got shape \[1\] where input 'a' has n = 2"),
    "negative tolerance": (sample([[1, 2]], [[3, 5]], rtol=-1e-3), "sample 1: expected rtol .*, got -0.001"),
    "huge tolerance": (sample([[1, 2]], [[9, 9]], rtol=1e9), "sample 1: expected rtol .*, got 1000000000.0"),
    "NaN as a tolerance": (sample([[1, 2]], [[3, 5]], atol=float("nan")), "samples.json is not JSON"),
    "missing data file": (missing_data, "external data 'weights.bin' is missing"),
    "another data file": (
        other_data,
        "cannot load .*model.onnx: .* External initializer: w .* file_length: 5",
    ),
    "extra file": (write("people.csv", ""), "people.csv is not part of a package: remove it or"),
    "model of another type": (integer_model, "sample 0 .* input 'x': expected STRING"),
    "schema of another model": (
        write("schema.json", {"features": {"age": {"type": "number"}}}),
        "schema.json: feature 'age': the model has no such feature; it has a, b",
    ),
    "type in the schema": (
        write("schema.json", {"outputs": {"y": {"type": "string"}}}),
        "schema.json: output 'y': expected the type number .* got string",
    ),
    "baseline of another model": (edges(age=0), "baseline.json: the model has no feature 'age'"),
    "number of features": (
        write("manifest.json", {"name": "tiny", "features": ["a"]}),
        "expected 2 features",
    ),
    "metric": (
        write("manifest.json", {"name": "tiny", "metrics": {"r2": float("nan")}}),
        "NaN is not a finite",
    ),
    "transform": (
        write("manifest.json", {"name": "tiny", "transformed": True}),
        "its samples need a transform; app/transform.py has none",
    ),
}


def content(directory: Path) -> dict[Path, bytes]:
    """Return every file below a directory."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("lie", LIES)
def test_lies(draft: Path, loader: Loader, lie: str) -> None:
    """A draft that lies is refused by both commands in one line, and the store stays as it was."""
    publish(draft, open_store("file:model_store"))
    before = content(Path("model_store"))
    write_lie, message = LIES[lie]
    write_lie(draft)
    for command in ("check", "publish"):
        result = loader(command, draft)
        assert (result.code, result.out) == (1, "")
        (line,) = result.err.splitlines()
        assert line.startswith("model_loader: ")
        assert re.search(message, line), line
    assert content(Path("model_store")) == before


def test_proven(draft: Path, loader: Loader) -> None:
    """A draft that tells the truth: its files are listed, with and without --json; nothing is uploaded."""
    result = loader("check", "draft")
    assert (result.code, result.err) == (0, "")
    first, *_, last = result.out.splitlines()
    assert (first.split(), last) == (["FILE", "BYTES"], "draft can be published")
    assert set(json.loads(loader("check", "draft", "--json").out)["files"]) == {"model.onnx", "samples.json"}
    assert not Path("model_store").exists()


@pytest.mark.parametrize(
    ("samples", "warning"),
    [
        (None, "warning: there is no samples.json: nothing proves that the model answers correctly"),
        (
            [*SAMPLES, SAMPLES[0] | {"source": "onnxruntime"}],
            "warning: .* 1 of 2 samples are ONNX Runtime's own",
        ),
    ],
)
def test_warnings(draft: Path, loader: Loader, samples: Any, warning: str) -> None:
    """What proves nothing is said, by `check` and `publish`."""
    (draft / "samples.json").unlink()
    if samples:
        write("samples.json", samples)(draft)
    for command in ("check", "publish"):
        assert re.search(warning, loader(command, "draft").out)


def test_endless(draft: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that does not come to an end is refused, and its process is ended."""
    monkeypatch.setattr(check, "TIMEOUT_S", 1)
    (draft / "model.onnx").write_bytes(models.endless())
    result = loader("check", "draft")
    assert result.code == 1
    assert "draft: the model did not answer its samples within 1 s: it loops without end" in result.err


def test_without_credentials(
    draft: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    """The process that runs the model gets neither credentials nor settings of this one."""
    for name in ("AZURE_CLIENT_SECRET", "MODEL_STORE", "WEB_CONCURRENCY", "MODEL_VERIFY_KEY"):
        monkeypatch.setenv(name, "invalid:secret")
    assert loader("check", "draft").code == 0
