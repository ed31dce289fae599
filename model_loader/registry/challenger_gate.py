"""The challenger's gate: is a new model better than the champion, or at least not worse, by more than chance?

Its rules are a table of `gate.toml`:

    [challenger]
    metric = "accuracy"
    rule = "better"        # or "not_worse"
    margin = 0.01          # for not_worse: by how much it may be worse, in total
    slice_margin = 0.1     # by how much it may be worse in a slice
    min_rows = 100         # of labels, in total; slices with fewer are not judged
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_loader.errors import GateError
from model_loader.evaluation_file import NUMBERS, Comparison, Evaluation
from model_loader.package import is_number

TABLE = "challenger"
RULES = ("better", "not_worse")


@dataclass(frozen=True)
class ChallengerRules:
    """The table `[challenger]`.

    Attributes:
        rule: `better`: the lower end of the interval is above 0; `not_worse`: above -margin.
        slice_margin: in each slice the lower end is above -slice_margin.
        min_rows: with fewer rows in total a challenger is refused, and a slice is not judged.
    """

    metric: str
    rule: str = "better"
    margin: float = 0.0
    slice_margin: float = 0.1
    min_rows: int = 100


@dataclass(frozen=True)
class ChallengerCheck:
    """The result of one rule, with the names of the JSON output.

    Attributes:
        slice: `<name>=<value>`; None: all rows.
        rule: as in the table.
        result: why it passed or failed.
    """

    metric: str
    slice: str | None
    rule: str
    rows: int
    champion: float | None
    challenger: float | None
    difference: float | None
    low: float | None
    high: float | None
    passed: bool
    result: str


def read_rules(path: Path) -> ChallengerRules:
    """Read the rules from `gate.toml`.

    Raises:
        GateError: the file cannot be read, lacks the table, or has a field or value that is none.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get(TABLE)
    except OSError as exc:
        raise GateError(f"cannot read the limits in {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise GateError(f"{path} is not TOML: {exc}") from exc
    where = f"{path}: [{TABLE}]"
    if not isinstance(table, dict) or "metric" not in table:
        raise GateError(f"{where}: expected a table with metric, {', '.join(_CHECKS)}, got {table!r:.80}")
    for name, value in table.items():
        if name == "metric":
            expected, is_valid = "a text", isinstance(value, str)
        elif name in _CHECKS:
            expected, is_valid = _CHECKS[name][0], _CHECKS[name][1](value)
        else:
            raise GateError(f"{where}: unknown field '{name}'; the fields are metric, {', '.join(_CHECKS)}")
        if not is_valid:
            raise GateError(f"{where}: expected '{name}' to be {expected}, got {value!r:.40}")
    return ChallengerRules(**table)


def check(rules: ChallengerRules, evaluation: Evaluation) -> list[ChallengerCheck]:
    """Judge an evaluation: in total, then in each slice."""
    overall = evaluation.overall(rules.metric)
    if overall is None:
        text = f"FAILED: the evaluation has no {rules.metric}"
        return [_check(rules.metric, None, rules.rule, evaluation.rows, None, False, text)]
    slices = [each for each in evaluation.comparisons if each.metric == rules.metric and each.slice]
    return [_check_total(rules, overall), *(_check_slice(rules, each) for each in slices)]


def _check_total(rules: ChallengerRules, found: Comparison) -> ChallengerCheck:
    rule = "better" if rules.rule == "better" else f"not worse than {rules.margin:g}"
    if found.rows < rules.min_rows:
        passed, text = False, f"FAILED: {found.rows} rows, expected {rules.min_rows} or more"
    elif found.low > 0:
        passed, text = True, f"passed: better by {found.low:.3g} or more"
    elif rules.rule == "not_worse" and found.low > -rules.margin:
        passed, text = True, f"passed: not worse by {rules.margin:g}"
    else:
        passed, text = False, f"FAILED: {_doubt(found, rules.rule)}"
    return _check(found.metric, None, rule, found.rows, found, passed, text)


def _check_slice(rules: ChallengerRules, found: Comparison) -> ChallengerCheck:
    rule = f"not worse than {rules.slice_margin:g}"
    if found.rows < rules.min_rows:
        passed, text = True, f"not judged: fewer than {rules.min_rows} rows"
    elif found.low > -rules.slice_margin:
        passed, text = True, "passed" if found.low <= 0 else f"passed: better by {found.low:.3g} or more"
    else:
        passed, text = False, f"FAILED: {_doubt(found, 'not_worse')}"
    return _check(found.metric, found.slice, rule, found.rows, found, passed, text)


def _doubt(found: Comparison, rule: str) -> str:
    if found.high < 0:
        return f"worse by {-found.high:.3g} or more"
    if rule == "better":
        return "not better by more than chance"
    return f"may be worse by up to {-found.low:.3g}"


def _check(
    metric: str, slice_: str | None, rule: str, rows: int, found: Comparison | None, passed: bool, text: str
) -> ChallengerCheck:
    numbers = {name: getattr(found, name) if found else None for name in NUMBERS}
    return ChallengerCheck(metric, slice_, rule, rows, passed=passed, result=text, **numbers)


def _is_margin(value: Any) -> bool:
    return is_number(value) and value >= 0


# Field → what it is expected to be, and whether a value is.
_CHECKS: Mapping[str, Any] = {
    "rule": (" or ".join(RULES), lambda value: value in RULES),
    "margin": ("a number from 0", _is_margin),
    "slice_margin": ("a number from 0", _is_margin),
    "min_rows": ("a whole number from 1", lambda value: type(value) is int and value >= 1),
}
