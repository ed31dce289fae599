"""Whether a model is good enough: its metrics against floors and against the model in a stage.

The floors are a TOML file with a table a metric:

    [accuracy]
    min = 0.9
    max_drop = 0.01

    [log_loss]
    max = 0.3
    max_rise = 0.05
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from model_loader.errors import GateError
from model_loader.package import is_number

# Rule → by how much the candidate breaks it, given the limit, its value and the value in the stage.
RULES: Mapping[str, Callable[[float, float, float], float]] = {
    "min": lambda limit, value, _: limit - value,
    "max": lambda limit, value, _: value - limit,
    "max_drop": lambda limit, value, baseline: baseline - value - limit,
    "max_rise": lambda limit, value, baseline: value - baseline - limit,
}
COMPARING = ("max_drop", "max_rise")
# In binary, 0.98 - 0.97 is more than 0.01.
TOLERANCE = 1e-9

Floors = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Check:
    """One row of the table.

    Attributes:
        value: the candidate's; None where it has no such metric, which fails.
        baseline: the stage's; None where there is none, which passes the rules that compare.
    """

    metric: str
    rule: str
    limit: float
    value: float | None
    baseline: float | None
    passed: bool

    @property
    def result(self) -> str:
        """For people."""
        if self.value is None:
            return "FAILED: no such metric"
        if self.rule in COMPARING and self.baseline is None:
            return "passed: no baseline"
        return "passed" if self.passed else "FAILED"


def read_floors(path: Path) -> Floors:
    """Reads the floors.

    Raises:
        GateError: the file cannot be read, sets no floor, or one that is none of the rules.
    """
    try:
        floors = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise GateError(f"no floors at {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise GateError(f"{path} is not TOML: {exc}") from exc
    for metric, rules in floors.items():
        if not isinstance(rules, dict) or not rules:
            raise GateError(f"{path}: expected a table [{metric}] with {', '.join(RULES)}, got {rules!r}")
        for rule, limit in rules.items():
            if rule not in RULES or not is_number(limit):
                raise GateError(
                    f"{path}: [{metric}]: expected {', '.join(RULES)} and a number, got {rule} = {limit!r}"
                )
    if not floors:
        raise GateError(f"{path} sets no floor")
    return floors


def check(floors: Floors, metrics: Mapping[str, float], baseline: Mapping[str, float]) -> list[Check]:
    """Holds a candidate's metrics against the floors, and against a baseline's, empty where there is none."""
    return [
        _check(metric, rule, limit, metrics.get(metric), baseline.get(metric))
        for metric, rules in floors.items()
        for rule, limit in rules.items()
    ]


def _check(metric: str, rule: str, limit: float, value: float | None, baseline: float | None) -> Check:
    if value is None:
        passed = False
    elif rule in COMPARING and baseline is None:
        passed = True
    else:
        passed = RULES[rule](limit, value, baseline or 0.0) <= TOLERANCE
    return Check(metric, rule, limit, value, baseline, passed)
