"""The table `[replay]` of `gate.toml`: what a candidate's answers to captured rows may be.

    [replay]
    no_data = "pass"            # or "fail": where nothing was captured
    max_refused = 0.0           # share of the rows that the candidate refuses
    max_violations = 0.01       # share of the rows in which a feature violates its schema.json
    min_labels = 100            # labelled rows without which no drop is compared; default: 100

    [replay.max_differing]      # share of the rows with another answer, by output
    label = 0.2

    [replay.max_drop]           # of a metric on the labelled rows, by which the candidate is certainly worse
    accuracy = 0.02

Each rule is optional. Limits of a share or a drop are compared with the end of the interval of 95 % that the
candidate certainly exceeds, so that few rows alone refuse nothing.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_loader import mean_intervals
from model_loader.package import is_number
from monitor.errors import ConfigError
from monitor.paired_metrics import METRICS
from monitor.replay import Replay

TABLE = "replay"
SHARES = ("max_refused", "max_violations")
TABLES = ("max_differing", "max_drop")
FIELDS = ("no_data", "min_labels", *SHARES, *TABLES)
# With fewer rows, the interval of a mean is too narrow: two rows that both became wrong have no variance.
MIN_LABELS = 100


@dataclass(frozen=True)
class ReplayLimits:
    """The content of the table.

    Attributes:
        fails_without_data: whether a window without captured rows fails.
        max_refused, max_violations: None: no limit.
        min_labels: with fewer labelled rows, a drop passes.
    """

    fails_without_data: bool = False
    max_refused: float | None = None
    max_violations: float | None = None
    max_differing: Mapping[str, float] = field(default_factory=dict)
    max_drop: Mapping[str, float] = field(default_factory=dict)
    min_labels: int = MIN_LABELS


@dataclass(frozen=True)
class Check:
    """The result of a rule.

    Attributes:
        value: that is compared with the limit; None if there is none.
        result: for people.
    """

    rule: str
    limit: float | None
    value: float | None
    passed: bool
    result: str


def read_limits(path: Path) -> ReplayLimits:
    """Read the table from a file; without one of them, there are no limits.

    Raises:
        ConfigError: the file cannot be read, or a rule is unknown or has a wrong value.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get(TABLE, {})
    except FileNotFoundError:
        return ReplayLimits()
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigError(f"{path} is not TOML: {exc}") from exc
    where = f"{path}: [{TABLE}]"
    _check_names(where, table, FIELDS)
    if (no_data := table.get("no_data", "pass")) not in ("pass", "fail"):
        raise ConfigError(f"{where}: expected no_data to be 'pass' or 'fail', got {no_data!r:.40}")
    min_labels = table.get("min_labels", MIN_LABELS)
    if type(min_labels) is not int or min_labels < 1:
        raise ConfigError(f"{where}: expected min_labels to be a whole number from 1, got {min_labels!r:.40}")
    shares = {name: _number(where, name, table[name]) for name in SHARES if name in table}
    tables = {name: _numbers(f"{path}: [{TABLE}.{name}]", table.get(name, {})) for name in TABLES}
    _check_names(f"{path}: [{TABLE}.max_drop]", tables["max_drop"], METRICS)
    return ReplayLimits(
        no_data == "fail",
        shares.get("max_refused"),
        shares.get("max_violations"),
        tables["max_differing"],
        tables["max_drop"],
        min_labels,
    )


def check(limits: ReplayLimits, found: Replay) -> list[Check]:
    """Compare a replay with the limits."""
    if not found.replayed:
        reason = "no captured row can be replayed" if found.rows else "nothing was captured"
        result = f"{'FAILED' if limits.fails_without_data else 'passed'}: {reason}"
        return [Check("no_data", None, None, not limits.fails_without_data, result)]
    return [*_checks(limits, found)]


def _checks(limits: ReplayLimits, found: Replay) -> Iterator[Check]:
    if limits.max_refused is not None:
        yield _compared(
            "max_refused", limits.max_refused, mean_intervals.wilson(found.refused, found.replayed)[0] or 0.0
        )
    if limits.max_violations is not None:
        worst = max((each.low for each in found.violations), default=0.0)
        yield _compared("max_violations", limits.max_violations, worst)
    changes = {each.output: each for each in found.outputs}
    for output, limit in limits.max_differing.items():
        rule = f"max_differing {output}"
        if output not in changes or not changes[output].rows:
            yield Check(rule, limit, None, passed=False, result="FAILED: no such output")
        else:
            yield _compared(rule, limit, changes[output].low or 0.0)
    metrics = {each.metric: each for each in found.metrics if each.slice is None}
    for metric, limit in limits.max_drop.items():
        rule = f"max_drop {metric}"
        if not metrics:
            yield Check(rule, limit, None, passed=True, result="passed: no labels")
        elif metric not in metrics:
            yield Check(rule, limit, None, passed=False, result="FAILED: no such metric")
        elif metrics[metric].rows < limits.min_labels or (high := metrics[metric].high) is None:
            yield Check(rule, limit, None, passed=True, result="passed: too few labels")
        else:
            yield _compared(rule, limit, -high)


def _compared(rule: str, limit: float, value: float) -> Check:
    passed = value <= limit
    return Check(rule, limit, value, passed, "passed" if passed else "FAILED")


def _check_names(where: str, table: Any, names: tuple[str, ...]) -> None:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: expected a table")
    for name in table:
        if name not in names:
            raise ConfigError(f"{where}: unknown rule '{name}'; the rules are {', '.join(names)}")


def _numbers(where: str, table: Any) -> dict[str, float]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: expected a table")
    return {name: _number(where, name, value) for name, value in table.items()}


def _number(where: str, name: str, value: Any) -> float:
    if not is_number(value) or value < 0:
        raise ConfigError(f"{where}: expected '{name}' to be a number from 0, got {value!r:.40}")
    return float(value)
