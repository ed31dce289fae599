"""The metrics gate: limits, comparison with the stage, and the printed table."""

import json
from pathlib import Path

import pytest

from model_loader.errors import GateError
from model_loader.registry.metrics_gate import check, read_limits
from tests.model_loader.command_line import Loader
from tests.model_loader.drafts import write_draft

METRICS = {"accuracy": 0.97, "log_loss": 0.1}
CURRENT = {"accuracy": 0.98, "log_loss": 0.06}


@pytest.mark.parametrize(
    ("metric", "rule", "limit", "passed"),
    [
        ("accuracy", "min", 0.97, True),
        ("accuracy", "min", 0.9701, False),
        ("log_loss", "max", 0.1, True),
        ("log_loss", "max", 0.0999, False),
        ("accuracy", "max_drop", 0.01, True),
        ("accuracy", "max_drop", 0.0099, False),
        ("accuracy", "max_rise", 0, True),
        ("log_loss", "max_rise", 0.04, True),
        ("log_loss", "max_rise", 0.0399, False),
        ("log_loss", "max_drop", 0, True),
        ("f1", "min", 0, False),
        ("f1", "max_drop", 1, False),
    ],
)
def test_rules(metric: str, rule: str, limit: float, passed: bool) -> None:
    """A value equal to the limit passes, in spite of rounding; a missing metric fails."""
    (row,) = check({metric: {rule: limit}}, METRICS, CURRENT)
    assert row.passed is passed


@pytest.mark.parametrize(
    ("rule", "result"), [("max_drop", "passed: nothing to compare with"), ("min", "passed")]
)
def test_nothing_to_compare_with(rule: str, result: str) -> None:
    """The first model has nothing to be compared with, so only the fixed limits apply."""
    (row,) = check({"accuracy": {rule: 0.01}}, METRICS, {})
    assert row.passed
    assert row.result == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "gate.toml has no limits"),
        ("accuracy = 0.9", r"expected a table \[accuracy\] with min, max, max_drop, max_rise, got 0.9"),
        ("[accuracy]", r"expected a table \[accuracy\] with min, max, max_drop, max_rise, got {}"),
        ("[accuracy]\nminimum = 0.9", r"\[accuracy\]: expected min, max, .* a number, got minimum = 0.9"),
        ("[accuracy]\nmin = '0.9'", r"\[accuracy\]: expected min, max, .* a number, got min = '0.9'"),
        ("[accuracy]\nmin = true", r"\[accuracy\]: expected min, max, .* a number, got min = True"),
        ("[accuracy]\nmin = nan", r"\[accuracy\]: expected min, max, .* a number, got min = nan"),
        ("[accuracy\n", "gate.toml is not TOML"),
    ],
)
def test_bad_limits(text: str, message: str) -> None:
    """A file without limits, or with unknown rules, is refused."""
    Path("gate.toml").write_text(text)
    with pytest.raises(GateError, match=message):
        read_limits(Path("gate.toml"))


def test_other_tables() -> None:
    """The tables of other gates have rules of their own, and are no limits."""
    text = '[replay]\nmax_differing = 0.2\n[challenger]\nrule = "better"\n'
    Path("gate.toml").write_text(f"[accuracy]\nmin = 0.9\n{text}")
    assert read_limits(Path("gate.toml")) == {"accuracy": {"min": 0.9}}
    Path("gate.toml").write_text(text)
    with pytest.raises(GateError, match=r"gate.toml has no limits"):
        read_limits(Path("gate.toml"))


def test_no_limits() -> None:
    """A missing file is refused."""
    with pytest.raises(GateError, match=r"cannot read the limits in gate.toml: No such file or directory"):
        read_limits(Path("gate.toml"))


@pytest.fixture
def two(store_url: str, loader: Loader) -> Loader:
    """The command line, with tiny/1 in production, tiny/2, and limits in `gate.toml`."""
    Path("gate.toml").write_text("[accuracy]\nmin = 0.9\nmax_drop = 0.01\n\n[log_loss]\nmax_rise = 0.05\n")
    for metrics in (METRICS, {"accuracy": 0.99, "log_loss": 0.2}):
        assert loader("publish", write_draft(Path("draft"), metrics=metrics)).code == 0
    assert loader("promote", "1", "--stage", "production").code == 0
    return loader


def test_table(two: Loader) -> None:
    """The table has every metric, rule and value; stderr has one line with the number of failures."""
    result = two("gate")
    assert result.code == 1
    assert [line.split() for line in result.out.splitlines()] == [
        ["METRIC", "RULE", "tiny/2", "production", "RESULT"],
        ["accuracy", "min", "0.9", "0.99", "0.97", "passed"],
        ["accuracy", "max_drop", "0.01", "0.99", "0.97", "passed"],
        ["log_loss", "max_rise", "0.05", "0.2", "0.1", "FAILED"],
    ]
    (line,) = result.err.splitlines()
    assert line.startswith("model_loader: tiny/2@sha256:")
    assert line.endswith("does not pass gate.toml: 1 of 3 checks failed")


def test_json(two: Loader) -> None:
    """With --json, the output has the same content."""
    result = two("gate", "--json")
    assert result.code == 1
    document = json.loads(result.out)
    assert document["passed"] is False
    assert document["candidate"].startswith("tiny/2@sha256:")
    assert document["baseline"].startswith("tiny/1@sha256:")
    assert document["checks"][2] == {
        "metric": "log_loss",
        "rule": "max_rise",
        "limit": 0.05,
        "value": 0.2,
        "baseline": 0.1,
        "passed": False,
    }


def test_passes(two: Loader) -> None:
    """If every check passes, the same table is printed and the exit code is 0."""
    result = two("gate", "--version", "production")
    assert result.code == 0
    assert not result.err
    assert result.out.count(" passed\n") == 3
    assert result.out.splitlines()[-1] == "passed gate.toml"


def test_package(two: Loader) -> None:
    """A package can be compared with the stage before it is published; the gate does not publish it."""
    write_draft(Path("draft"), metrics={"accuracy": 0.8, "log_loss": 0.1})
    result = two("gate", "--package", "draft")
    assert result.code == 1
    assert result.out.splitlines()[1].split() == ["accuracy", "min", "0.9", "0.8", "0.97", "FAILED"]
    assert result.err.startswith("model_loader: draft does not pass gate.toml: 2 of 3 checks failed")
    write_draft(Path("draft"), metrics=METRICS)
    assert two("gate", "--package", "draft").code == 0
    assert '"version": 2' in two("show", "latest", "--json").out


def test_package_without_name(two: Loader) -> None:
    """A package without a name cannot be compared, unless --name is given."""
    write_draft(Path("draft"), metrics=METRICS)
    document = json.loads(Path("draft/manifest.json").read_text())
    Path("draft/manifest.json").write_text(json.dumps({"metrics": document["metrics"]}))
    result = two("gate", "--package", "draft")
    assert result.code == 1
    assert "does not name its model: give --name" in result.err
    assert two("gate", "--package", "draft", "--name", "tiny").code == 0


def test_empty_stage(two: Loader) -> None:
    """An empty stage does not fail the gate."""
    result = two("gate", "--stage", "staging")
    assert result.code == 0
    assert "log_loss  max_rise 0.05  0.2     -        passed: nothing to compare with" in result.out
