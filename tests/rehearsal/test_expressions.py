"""Tests of the expressions in conditions and variables."""

import pytest

from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.expressions import evaluate

CONTEXT = {
    "variables": {"Build.SourceBranch": "refs/heads/main", "x": "it's"},
    "dependencies": {"Plan": {"outputs": {"Plan.plan.run": "true"}}},
}
GOOD = {"succeeded": True, "failed": False}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("succeeded()", True),
        ("failed()", False),
        ("eq(variables['Build.SourceBranch'], 'refs/heads/main')", True),
        ("eq('Main', 'MAIN')", True),
        ("ne(variables['Build.SourceBranch'], 'refs/heads/main')", False),
        ("and(succeeded(), not(failed()))", True),
        ("and(succeeded(), or(failed(), eq('a', 'b')))", False),
        ("eq(variables.x, 'it''s')", True),
        ("in(variables.x, 'a', 'IT''S')", True),
        ("not(in(variables.x, 'a', 'b'))", True),
        ("dependencies.Plan.outputs['Plan.plan.run']", "true"),
        ("dependencies.Plan.outputs['nothing']", ""),
        ("eq(dependencies.Other.outputs['Plan.plan.run'], '')", True),
    ],
)
def test_value(text: str, value: object) -> None:
    """An expression has the value that it has on an agent."""
    assert evaluate(text, CONTEXT, GOOD) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "contains('ab', 'a')",
        "parameters.x",
        "eq('a', 'b'",
        "eq('a', 'b') eq",
        "eq('a' = 'b')",
        "canceled()",
    ],
)
def test_unsupported(text: str) -> None:
    """An unsupported expression is an error and never evaluates to false."""
    with pytest.raises(RehearsalError, match="expression"):
        evaluate(text, CONTEXT, GOOD)
