"""`draft`: directories, arguments and predictions that it refuses or replaces."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from onnx import helper

from model_loader.drafting import files
from model_loader.drafting.tables import Table, read_table
from model_loader.errors import DraftError
from model_loader.registry import draft
from tests import models
from tests.model_loader.command_line import Loader
from tests.model_loader.drafting.kinds import (
    X,
)
from tests.model_loader.drafts import write_draft, write_external


def test_draft_again(loader: Loader) -> None:
    """A draft is replaced by a new one; a directory with anything else is refused and does not change."""
    Path("made.onnx").write_bytes(models.affine())
    pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}).to_csv("test.csv", index=False)
    command = ["draft", "made.onnx", "--data", "test.csv", "--name", "tiny", "--out", "build/draft"]
    assert [loader(*command).code for _ in range(2)] == [0, 0]
    assert [path.name for path in Path("build").iterdir()] == ["draft"]
    (Path("build/draft") / "people.csv").write_text("name")
    done = loader(*command)
    assert done.code == 1
    assert "build/draft has people.csv, which is not part of a draft" in done.err
    assert Path("build/draft/people.csv").exists()


@pytest.mark.parametrize("is_published", [False, True])
def test_foreign_directory(is_published: bool, loader: Loader) -> None:
    """A draft that somebody wrote, and a package that was pulled, are not replaced."""
    directory = write_draft(Path("made"))
    if is_published:
        assert loader("publish", "made", "--store", "file:store").code == 0
        assert loader("pull", "--store", "file:store").code == 0
        directory = Path("model")
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}).to_csv("test.csv", index=False)
    done = loader("draft", "made/model.onnx", "--data", "test.csv", "--name", "tiny", "--out", directory)
    assert done.code == 1
    assert f"{directory} is not empty, and was not written by draft" in done.err
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_store(loader: Loader) -> None:
    """A draft is not written among the versions of a store, where it would look like one."""
    write_draft(Path("made"))
    assert loader("publish", "made", "--store", "file:store").code == 0
    np.savez("test.npz", x=X[:, :2])
    command = ["draft", "made/model.onnx", "--data", "test.npz", "--name", "tiny", "--out", "store/tiny/2"]
    done = loader(*command)
    assert done.code == 1
    assert "store/tiny/2 is in a store, which only publish may write" in done.err
    assert not Path("store/tiny/2").exists()


def test_unwritable(loader: Loader) -> None:
    """A draft that cannot be written names its directory."""
    Path("made.onnx").write_bytes(models.affine())
    np.savez("test.npz", x=X[:, :2])
    command = ["draft", "made.onnx", "--data", "test.npz", "--name", "tiny", "--out", f"build/{'x' * 250}"]
    done = loader(*command)
    assert done.code == 1
    assert re.search(r"cannot write \S*build/x+: File name too long", done.err)


def test_external_data(loader: Loader) -> None:
    """The files that a model's weights are in are part of the draft."""
    write_external(Path("exported"), "sub/weights.bin", columns=2)
    np.savez("test.npz", x=np.zeros((5, 1024), np.float32))
    done = loader(*["draft", "exported/model.onnx", "--data", "test.npz", "--name", "tiny", "--out", "draft"])
    assert (done.code, done.err) == (0, "")
    assert Path("draft/sub/weights.bin").stat().st_size == 1024 * 2 * 4


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"y_0": [3.0] * 4, "y_1": [5.0] * 4}, "predictions.csv has 4 rows: expected 6, one for each row"),
        ({"z": [1.0] * 6}, "expected columns named as the outputs, y, with _0, _1, …"),
        (
            {"y_0": [3.0] * 6, "y_1": [9.0] * 6},
            "output 'y': 6 of 6 rows differ, the largest difference is 8, in row 1",
        ),
        ({"y_0": [3.0] * 6, "y_1": ["?"] * 6}, "column 'y_1', row 1: expected a number.*, got '\\?'"),
    ],
)
def test_bad_predictions(loader: Loader, outputs: dict[str, Any], message: str) -> None:
    """Predictions of another model, or for other rows, are refused, and nothing is written."""
    Path("made.onnx").write_bytes(models.affine())
    pd.DataFrame({"a": [1.0] * 6, "b": [0.0] * 6}).to_csv("test.csv", index=False)
    pd.DataFrame(outputs).to_csv("predictions.csv", index=False)
    done = loader(
        *[
            "draft",
            "made.onnx",
            "--data",
            "test.csv",
            "--name",
            "tiny",
            "--out",
            "draft",
            "--predictions",
            "predictions.csv",
        ]
    )
    assert done.code == 1
    assert re.search(message, done.err)
    assert not Path("draft").exists()


def test_data_that_changes(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fingerprint in the manifest is that of the rows that were read, or there is no draft."""

    def replaced(path: Path) -> Table:
        table = read_table(path)
        path.write_text("a,b\n5,6\n")
        return table

    monkeypatch.setattr(files, "read_table", replaced)
    Path("made.onnx").write_bytes(models.affine())
    Path("test.csv").write_text("a,b\n1,2\n")
    done = loader("draft", "made.onnx", "--data", "test.csv", "--name", "tiny", "--out", "draft")
    assert done.code == 1
    assert "test.csv changed while it was read: draft again" in done.err


def test_no_inputs(loader: Loader) -> None:
    """A model without inputs is refused: there is nothing to draft."""
    value = helper.make_tensor("value", models.FLOAT, [1], [1.0])
    node = helper.make_node("Constant", [], ["y"], value=value)
    Path("made.onnx").write_bytes(models.model([node], [], [models.tensor("y", shape=(1,))]))
    pd.DataFrame({"a": [1.0]}).to_csv("test.csv", index=False)
    done = loader("draft", "made.onnx", "--data", "test.csv", "--name", "tiny", "--out", "draft")
    assert done.code == 1
    assert "made.onnx has no inputs" in done.err


def test_few_rows_differ() -> None:
    """A row that a framework answers differently is reported, and is not a sample."""
    Path("made.onnx").write_bytes(models.affine())
    y = 2 * X[:, :2].repeat(2, axis=0) + 1
    y[7] += 1
    report = draft(
        "made.onnx", {"x": X[:, :2].repeat(2, axis=0)}, name="tiny", out="draft", predictions={"y": y}
    )
    assert report.warnings[-1].startswith("output 'y': 1 of 180 rows differ, the largest difference is 1")
    y[5] += 1
    with pytest.raises(DraftError, match="output 'y': 2 of 180 rows differ"):
        draft("made.onnx", {"x": X[:, :2].repeat(2, axis=0)}, name="tiny", out="draft", predictions={"y": y})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "a/b"], r"expected the name of a model, which matches .*, got 'a/b'"),
        (["--rtol", "1"], r"expected rtol to be a number from 0 to below 1, got 1.0"),
        (["--atol", "nan"], r"expected atol to be a number of 0 or more, got nan"),
        (["--out", "test.csv"], r"test.csv is a file: give a directory for the draft"),
        (["--target", "d"], r"test.csv has no column 'd' for the target; it has a, b, c"),
    ],
)
def test_bad_argument(arguments: list[str], message: str, loader: Loader) -> None:
    """An argument that cannot be used is refused before anything is written."""
    Path("made.onnx").write_bytes(models.affine())
    pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0], "c": [0, 1]}).to_csv("test.csv", index=False)
    command = ["draft", "made.onnx", "--data", "test.csv", "--name", "tiny", "--out", "draft"]
    done = loader(*command, *arguments)
    assert done.code == 1
    assert re.search(message, done.err)
    assert sorted(path.name for path in Path().iterdir()) == ["made.onnx", "test.csv"]
