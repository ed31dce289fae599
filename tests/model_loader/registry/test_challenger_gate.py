"""The challenger's gate: how often it is right, its rules, and its table."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_loader.errors import GateError
from model_loader.evaluation_file import Evaluation, read_evaluation, write_evaluation
from model_loader.package import hash_file
from model_loader.paired_comparison import compare
from model_loader.registry.challenger_gate import ChallengerRules, check, read_rules
from tests.model_loader.command_line import Loader
from tests.model_loader.drafts import write_draft

RULES = ChallengerRules("accuracy", "better", margin=0.01, slice_margin=0.1, min_rows=100)
GATE = "[accuracy]\nmin = 0.9\nmax_drop = 0.01\n\n[challenger]\nmetric = 'accuracy'\nmin_rows = 10\n"


def evaluation(
    champion: float, challenger: float, rows: int, seed: int = 1, shared: float = 0.0
) -> Evaluation:
    """Return the comparison of simulated models.

    Args:
        champion, challenger: their accuracies.
        shared: share of the rows on which both are right or wrong together.
    """
    random = np.random.default_rng(seed)
    draws = [random.random(rows) for _ in range(2)]
    draws[1] = np.where(random.random(rows) < shared, draws[0], draws[1])
    one, other = (
        (draw < accuracy).astype(float) for draw, accuracy in zip(draws, (champion, challenger), strict=True)
    )
    return Evaluation("wine/2", "00", rows, (compare("accuracy", "higher", one, other),))


def share_that_passes(
    champion: float, challenger: float, rows: int, rules: ChallengerRules, **more: Any
) -> float:
    """Return the share of 200 simulated pairs that pass."""
    found = [evaluation(champion, challenger, rows, seed, **more) for seed in range(200)]
    return sum(all(each.passed for each in check(rules, one)) for one in found) / len(found)


@pytest.mark.parametrize("rows", [100, 500, 2000])
@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_equal_models(rows: int, shared: float) -> None:
    """Of 200 pairs of equally good models at most 5 % pass as better."""
    assert share_that_passes(0.9, 0.9, rows, RULES, shared=shared) <= 0.05


def test_rows_of_one_request() -> None:
    """Equally good models pass as rarely if the rows of a request are alike."""
    random, requests = np.random.default_rng(1), np.repeat(np.arange(50), 10)
    passed = 0
    for _ in range(400):
        one, other = (random.random((50, 10)) < random.choice([0.6, 1.0], (50, 1)) for _ in range(2))
        found = compare(
            "accuracy",
            "higher",
            one.ravel().astype(np.float64),
            other.ravel().astype(np.float64),
            requests=requests,
        )
        passed += found.low > 0
    assert passed <= 400 * 0.05
    assert compare("accuracy", "higher", np.zeros(10), np.ones(10), requests=requests[:10]).low == -1


@pytest.mark.parametrize(("champion", "shared"), [(0.75, 0), (0.85, 0), (0.94, 0), (0.6, 0.5)])
def test_better_model(champion: float, shared: float) -> None:
    """A model that is five points better passes in 95 % with 2,000 held-out labels."""
    assert share_that_passes(champion, champion + 0.05, 2000, RULES, shared=shared) >= 0.95


def test_not_worse() -> None:
    """With the rule not_worse an equal model passes if the margin can be resolved, a worse one does not."""
    rules = ChallengerRules("accuracy", "not_worse", margin=0.03)
    assert share_that_passes(0.9, 0.9, 2000, rules, shared=0.8) >= 0.95
    assert share_that_passes(0.9, 0.87, 2000, rules, shared=0.8) <= 0.05


@pytest.mark.parametrize(
    ("found", "rules", "result"),
    [
        (evaluation(0.9, 0.5, 200), RULES, "FAILED: worse by"),
        (evaluation(0.9, 0.9, 200), RULES, "FAILED: not better by more than chance"),
        (evaluation(0.5, 0.9, 200), RULES, "passed: better by"),
        (evaluation(0.5, 0.9, 99), RULES, "FAILED: 99 rows, expected 100 or more"),
        (
            evaluation(0.9, 0.9, 200),
            ChallengerRules("accuracy", "not_worse", 0.2),
            "passed: not worse by 0.2",
        ),
        (
            evaluation(0.9, 0.9, 200),
            ChallengerRules("accuracy", "not_worse", 0.01),
            "FAILED: may be worse by up to",
        ),
        (evaluation(0.9, 0.9, 200), ChallengerRules("log_loss"), "FAILED: the evaluation has no log_loss"),
    ],
)
def test_results(found: Evaluation, rules: ChallengerRules, result: str) -> None:
    """The result says why a challenger passed or failed."""
    (total,) = check(rules, found)
    assert total.result.startswith(result)
    assert total.passed is result.startswith("passed")


def test_slices() -> None:
    """A slice that may be worse fails the gate; one with few rows is not judged."""
    right, wrong = np.ones(200), np.zeros(200)
    comparisons = [
        compare("accuracy", "higher", wrong, right),
        compare("accuracy", "higher", right[:150], wrong[:150], "color=red"),
        compare("accuracy", "higher", right[:50], wrong[:50], "color=white"),
    ]
    total, red, white = check(RULES, Evaluation("wine/2", "00", 200, tuple(comparisons)))
    assert (total.passed, red.passed, white.passed) == (True, False, True)
    assert red.result.startswith("FAILED: worse by")
    assert white.result == "not judged: fewer than 100 rows"


def test_lower_is_better() -> None:
    """The difference is above 0 if the challenger is better, also where less is better."""
    found = compare("log_loss", "lower", np.array([0.5, 0.6, 0.7]), np.array([0.1, 0.3, 0.2]))
    assert found.difference == pytest.approx(0.4)
    assert (found.champion, found.challenger) == pytest.approx((0.6, 0.2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected a table with metric, rule, margin, slice_margin, min_rows, got None"),
        ("[challenger]", r"expected a table with metric"),
        ("[challenger]\nmetric = 'accuracy'\nrule = 'best'", "'rule' to be better or not_worse, got 'best'"),
        ("[challenger]\nmetric = 'accuracy'\nmargin = -1", "'margin' to be a number from 0, got -1"),
        ("[challenger]\nmetric = 'accuracy'\nmin_rows = 0", "'min_rows' to be a whole number from 1, got 0"),
        ("[challenger]\nmetric = 1", "'metric' to be a text, got 1"),
        ("[challenger]\nmetric = 'accuracy'\nrows = 1", "unknown field 'rows'"),
        ("[challenger", "is not TOML"),
    ],
)
def test_bad_rules(text: str, message: str, tmp_path: Path) -> None:
    """A table that is missing or wrong is refused, with the field, expected and got."""
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(GateError, match=message):
        read_rules(path)


def test_file(tmp_path: Path) -> None:
    """An evaluation is read as it was written."""
    written = evaluation(0.5, 0.9, 200)
    write_evaluation(tmp_path / "evaluation.json", written, snapshots=["sha256:00"])
    found = read_evaluation(tmp_path / "evaluation.json")
    assert (found.champion, found.challenger, found.rows) == ("wine/2", "00", 200)
    assert found.comparisons[0].low == pytest.approx(written.comparisons[0].low, abs=1e-6)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("low", None, r"comparisons\[0\]: expected 'low' to be a finite number, got None"),
        ("rows", -1, r"expected 'rows' to be a whole number from 0, got -1"),
        ("better", "most", "expected metric, better, which is higher or lower"),
    ],
)
def test_bad_file(tmp_path: Path, field: str, value: Any, message: str) -> None:
    """A wrong field is named."""
    path = tmp_path / "evaluation.json"
    write_evaluation(path, evaluation(0.5, 0.9, 200))
    document = json.loads(path.read_text())
    document["comparisons"][0][field] = value
    path.write_text(json.dumps(document))
    with pytest.raises(GateError, match=message):
        read_evaluation(path)


@pytest.fixture
def draft(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A draft whose model is compared with tiny/1, which is in production, and limits in `gate.toml`."""
    monkeypatch.setenv("MODEL_STORE", "file:store")
    Path("gate.toml").write_text(GATE)
    assert loader("publish", write_draft(Path("draft"), metrics={"accuracy": 0.99})).code == 0
    assert loader("promote", "1", "--stage", "production").code == 0
    return write_draft(Path("draft"), metrics={"accuracy": 0.95})


def write(draft: Path, accuracies: tuple[float, float], **fields: Any) -> Path:
    """Write the evaluation of a draft, on 500 rows."""
    sha256 = hash_file(draft / "model.onnx").sha256
    models: dict[str, Any] = {"champion": "tiny/1", "challenger": sha256} | fields
    path = Path("evaluation.json")
    write_evaluation(path, replace(evaluation(*accuracies, 500), **models))
    return path


def test_passes(draft: Path, loader: Loader) -> None:
    """A better challenger passes; relative limits are those of the champion on the same rows."""
    result = loader("gate", "--package", draft, "--evaluation", write(draft, (0.8, 0.95)))
    assert result.code == 0, result.err
    lines = [line.split() for line in result.out.splitlines()]
    champion = lines[2][4]
    assert lines[2] == ["accuracy", "max_drop", "0.01", "0.95", champion, "passed"]
    assert float(champion) == pytest.approx(0.8, abs=0.05)
    assert lines[4][:5] == ["METRIC", "SLICE", "ROWS", "draft", "tiny/1"]
    assert "passed: better by" in result.out
    share = r"0\.\d+"
    said = (
        rf"passed gate\.toml; accuracy {share}, {share} of tiny/1: "
        rf"difference \+{share}, 95 % \+{share} to \+{share}, 500 rows"
    )
    assert re.fullmatch(said, result.out.splitlines()[-1])


def test_refused(draft: Path, loader: Loader) -> None:
    """A challenger that is not better is refused, with the reason, and the package stays."""
    result = loader("gate", "--package", draft, "--evaluation", write(draft, (0.95, 0.95)), "--json")
    assert result.code == 1
    assert "1 of 3 checks failed; accuracy: not better by more than chance" in result.err
    assert json.loads(result.out)["challenger"][0]["passed"] is False
    assert (draft / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"challenger": "00"}, "is of another model: expected the sha256 of draft's model.onnx"),
        ({"champion": "tiny/7"}, "compares with tiny/7, but the stage has tiny/1 now: train again"),
    ],
)
def test_other_models(draft: Path, loader: Loader, fields: dict[str, str], message: str) -> None:
    """An evaluation of other models than those at hand is refused."""
    result = loader("gate", "--package", draft, "--evaluation", write(draft, (0.8, 0.95), **fields))
    assert result.code == 1
    assert message in result.err
