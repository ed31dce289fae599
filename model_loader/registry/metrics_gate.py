"""The metrics gate: compare a model's metrics with fixed limits and with the model in a stage.

The limits are in a TOML file with a table for each metric:

    [accuracy]
    min = 0.9
    max_drop = 0.01

    [log_loss]
    max = 0.3
    max_rise = 0.05

Other gates have tables of their own in the same file; see OTHER_TABLES.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from model_loader.errors import GateError
from model_loader.package import is_number

# Rule → by how much it is violated, from the limit, the value and the value of the model in the stage.
RULES: Mapping[str, Callable[[float, float, float], float]] = {
    "min": lambda limit, value, _: limit - value,
    "max": lambda limit, value, _: value - limit,
    "max_drop": lambda limit, value, current: current - value - limit,
    "max_rise": lambda limit, value, current: value - current - limit,
}
RELATIVE_RULES = ("max_drop", "max_rise")
# Tables of other gates: `python -m monitor replay`, and `gate --evaluation`.
OTHER_TABLES = ("replay", "challenger")
# In binary floating point 0.98 - 0.97 is greater than 0.01.
TOLERANCE = 1e-9

Limits = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Check:
    """The result of one rule, with the names of the JSON output.

    Attributes:
        value: of the candidate; None if it lacks the metric, which fails.
        baseline: of the model in the stage; None if there is none, which passes the relative rules.
    """

    metric: str
    rule: str
    limit: float
    value: float | None
    baseline: float | None
    passed: bool

    @property
    def result(self) -> str:
        """The result as text."""
        if self.value is None:
            return "FAILED: no such metric"
        if self.rule in RELATIVE_RULES and self.baseline is None:
            return "passed: nothing to compare with"
        return "passed" if self.passed else "FAILED"


def read_limits(path: Path) -> Limits:
    """Read the limits from a file.

    Raises:
        GateError: the file cannot be read, has no limits, or has an unknown rule.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise GateError(f"cannot read the limits in {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise GateError(f"{path} is not TOML: {exc}") from exc
    limits = {metric: rules for metric, rules in document.items() if metric not in OTHER_TABLES}
    for metric, rules in limits.items():
        if not isinstance(rules, dict) or not rules:
            raise GateError(f"{path}: expected a table [{metric}] with {', '.join(RULES)}, got {rules!r}")
        for rule, limit in rules.items():
            if rule not in RULES or not is_number(limit):
                raise GateError(
                    f"{path}: [{metric}]: expected {', '.join(RULES)} and a number, got {rule} = {limit!r}"
                )
    if not limits:
        raise GateError(f"{path} has no limits")
    return limits


def check(limits: Limits, metrics: Mapping[str, float], current: Mapping[str, float]) -> list[Check]:
    """Compare a candidate's metrics with the limits and with the metrics of the model in the stage.

    Args:
        metrics: of the candidate.
        current: of the model in the stage; empty if there is none.
    """
    return [
        _check(metric, rule, limit, metrics.get(metric), current.get(metric))
        for metric, rules in limits.items()
        for rule, limit in rules.items()
    ]


def _check(metric: str, rule: str, limit: float, value: float | None, current: float | None) -> Check:
    if value is None:
        passed = False
    elif rule in RELATIVE_RULES and current is None:
        passed = True
    else:
        passed = RULES[rule](limit, value, current or 0.0) <= TOLERANCE
    return Check(metric, rule, limit, value, current, passed)
