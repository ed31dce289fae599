"""RowScorer: captured rows get the outputs that capture has of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from app import create_app
from app.commands.score_rows import RowScorer
from app.commands.scoring_files.errors import ScoringError
from app.settings import Settings
from tests import models
from tests.conftest import write_package

RANDOM = np.random.default_rng(0)
CASES: dict[str, tuple[bytes, dict[str, Any], dict[str, Any]]] = {
    "table": (models.affine(), {"features": ["a", "b"]}, {"inputs": RANDOM.random((50, 2)).tolist()}),
    "class map": (models.zipmap("cat", "dog"), {}, {"inputs": RANDOM.random((50, 2)).tolist()}),
    "strings": (models.echo(TensorProto.STRING), {}, {"inputs": [[f'"{i}", ü'] * 16 for i in range(50)]}),
    "several": (models.affine_and_echo(), {}, {"instances": [{"x": [1, 2], "words": i} for i in "abc"]}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_captured(tmp_path: Path, case: str) -> None:
    """The outputs for the captured inputs of a request are the captured outputs."""
    model, manifest, body = CASES[case]
    package = write_package(tmp_path / "m", model, **manifest)
    app = create_app(Settings(model_path=package, web_concurrency=1, capture_dir=tmp_path / "spool"))
    assert app.test_client().post("/score", json=body).status_code == 200
    app.extensions["service"].capture.close()
    (segment,) = (tmp_path / "spool/name=tiny/kind=prediction").iterdir()
    lines = [json.loads(line) for line in segment.read_text().splitlines()]
    answers = RowScorer(package).score([line["inputs"] for line in lines])
    assert [each.outputs for each in answers] == [line["outputs"] for line in lines]
    assert {each.error for each in answers} == {""}


def test_schema(tmp_path: Path) -> None:
    """Withheld outputs are left out; violations are counted once, also beside refused rows."""
    schema = {
        "features": {"a": {"type": "number", "max": 1, "max_missing": 0.5}},
        "outputs": {"y": {"type": "number", "pii": True}},
    }
    package = write_package(tmp_path / "m", models.affine(), features=["a", "b"], schema=schema)
    scorer = RowScorer(package)
    rows: list[dict[str, Any]] = [{"a": float(index), "b": 0.0} for index in range(5)]
    rows[2] = {"a": "x", "b": 0.0}
    answers = scorer.score(rows)
    assert [each.outputs for each in answers] == [{}, {}, None, {}, {}]
    assert answers[2].error.startswith("input 'x': expected FP32 [batch, 2], got 'x'")
    assert scorer.violations == {("a", "above"): 2}
    assert scorer.max_missing == {"a": 0.5}


def test_bad_package(tmp_path: Path) -> None:
    """What the service would refuse to start with is refused."""
    with pytest.raises(ScoringError, match="none"):
        RowScorer(tmp_path / "none")
