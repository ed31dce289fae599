"""`monitor.toml`: windows, slices, limits, business metrics, retraining, and the output that labels refer to.

    windows = ["1d", "7d", "28d"]
    late_after = "1d"
    min_labels = 100

    [slices]
    strong = "(inputs->>'alcohol')::DOUBLE >= 13.5"

    [limits.accuracy]
    min = 0.9
    max_drop = 0.05

    [business.revenue]
    metric = "revenue"
    aggregate = "mean"
    min = 1.2

    [retraining]
    cooldown = "1d"
    min_new_labels = 500

    [target]
    metric = "label"
    output = "label"
    probabilities = "probabilities"
    classes = [0, 1, 2]

Everything is optional. A slice is an expression of DuckDB over the columns of `predictions`; its values are
the slices. `target` is only needed without a schema that has feedback, and applies to every version.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from model_loader.package import is_number
from monitor.errors import ConfigError

Aggregate = Literal["rate", "sum", "mean"]
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
# Rules of a limit, as in `gate.toml`.
LIMIT_RULES = ("min", "max", "max_drop", "max_rise")
MAX_CALIBRATION_ERROR = 0.05
# Measures that can have a limit: those with a series in the metrics.
MEASURES = (
    "accuracy", "precision", "recall", "macro_f1", "log_loss", "brier", "calibration_error",
    "mae", "rmse", "bias", "r2", "estimated_accuracy", "estimated_macro_f1",
)  # fmt: skip
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True)
class BusinessMetric:
    """A measure of what the predictions led to.

    Attributes:
        metric: name in the feedback.
        aggregate: `rate` of true; `sum` over all predictions; `mean` per prediction.
        minimum, maximum: limits of the longest window, for an alert; None: none.
    """

    name: str
    metric: str
    aggregate: Aggregate
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class TargetConfig:
    """What the feedback is the truth of, where no schema says it."""

    metric: str
    output: str
    probabilities: str | None = None
    classes: tuple[Any, ...] = ()


@dataclass(frozen=True)
class RetrainingRules:
    """When an alert or the cadence leads to a training.

    Attributes:
        enabled: whether they do at all.
        cooldown: time after a training without another.
        min_new_labels: labels that must have come since the last training.
        max_per_day: trainings within 24 hours.
        confirm: whether an alert leads to a training only if a measure of the version in production is beyond
            its limit by more than chance explains.
    """

    enabled: bool = True
    cooldown: timedelta = timedelta(days=1)
    min_new_labels: int = 500
    max_per_day: int = 1
    confirm: bool = True


@dataclass(frozen=True)
class Config:
    """The content of `monitor.toml`.

    Attributes:
        windows: name → length, before the time of the calculation.
        late_after: a label that comes later after its prediction is late.
        min_labels: minimum number of labelled rows in a window; below it, estimates are reported too.
        slices: name → SQL expression.
        min_slice_rows: slices with fewer labelled rows are left out.
        limits: measure → rule of LIMIT_RULES → limit, for an alert. The drop and the rise are relative to the
            version's evaluation before its release, in its manifest.
    """

    windows: Mapping[str, timedelta] = field(
        default_factory=lambda: {text: _duration(text) for text in ("1d", "7d", "28d")}
    )
    late_after: timedelta = timedelta(days=1)
    min_labels: int = 100
    min_slice_rows: int = 20
    slices: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: _limits({}))
    business: tuple[BusinessMetric, ...] = ()
    retraining: RetrainingRules = RetrainingRules()
    target: TargetConfig | None = None


def read_config(path: Path) -> Config:
    """Read a configuration; a missing file is an empty one.

    Raises:
        ConfigError: it is invalid; the message names the file and the field.
    """
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Config()
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    try:
        return parse_config(document)
    except ConfigError as exc:
        raise ConfigError(f"{path}: {exc}") from exc


def parse_config(document: Mapping[str, Any]) -> Config:
    """Parse the content of `monitor.toml`.

    Raises:
        ConfigError: a field is unknown or has a wrong value.
    """
    types = {"windows": list, "late_after": str, "min_labels": int, "min_slice_rows": int, "slices": dict}
    tables = {"limits": dict, "business": dict, "retraining": dict, "target": dict}
    _check("", document, types | tables)
    values: dict[str, Any] = {}
    if "windows" in document:
        values["windows"] = {text: _duration(text) for text in document["windows"]}
        if not values["windows"]:
            raise ConfigError("expected windows to have a duration, such as 7d")
    if "late_after" in document:
        values["late_after"] = _duration(document["late_after"])
    for name in ("min_labels", "min_slice_rows"):
        if name in document:
            if document[name] < 1:
                raise ConfigError(f"expected {name} to be 1 or more, got {document[name]}")
            values[name] = document[name]
    for name, expression in document.get("slices", {}).items():
        if not NAME.fullmatch(name) or not isinstance(expression, str) or not expression.strip():
            raise ConfigError(
                f"slices.{name}: expected a name of letters, digits and _, and an SQL expression"
            )
    values["slices"] = document.get("slices", {})
    values["limits"] = _limits(document.get("limits", {}))
    values["business"] = tuple(_business(name, value) for name, value in document.get("business", {}).items())
    values["retraining"] = _retraining(document.get("retraining", {}))
    if "target" in document:
        values["target"] = _target(document["target"])
    return Config(**values)


def _business(name: str, value: Any) -> BusinessMetric:
    where = f"business.{name}"
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a table")
    limits = {rule: value[rule] for rule in ("min", "max") if rule in value}
    # A limit may be an integer or a float.
    numbers = {rule: type(value.get(rule)) for rule in ("min", "max")}
    _check(where, value, {"metric": str, "aggregate": str} | numbers)
    aggregate = value.get("aggregate", "mean")
    if not NAME.fullmatch(name) or aggregate not in get_args(Aggregate):
        raise ConfigError(f"{where}: expected aggregate to be one of {', '.join(get_args(Aggregate))}")
    for rule, limit in limits.items():
        if not is_number(limit):
            raise ConfigError(f"{where}: expected '{rule}' to be a finite number, got {limit!r:.40}")
    if limits and aggregate == "sum":
        raise ConfigError(f"{where}: a sum depends on the traffic: give limits to the rate or the mean")
    return BusinessMetric(name, value.get("metric", name), aggregate, limits.get("min"), limits.get("max"))


def _limits(document: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    found: dict[str, Mapping[str, float]] = {"calibration_error": {"max": MAX_CALIBRATION_ERROR}}
    for metric, rules in document.items():
        where = f"limits.{metric}"
        if metric not in MEASURES:
            raise ConfigError(f"{where}: unknown measure; the measures are {', '.join(MEASURES)}")
        if not isinstance(rules, Mapping) or not rules:
            raise ConfigError(f"{where}: expected a table with {', '.join(LIMIT_RULES)}")
        for rule, limit in rules.items():
            if rule not in LIMIT_RULES or not is_number(limit):
                expected = f"{', '.join(LIMIT_RULES)} and a finite number"
                raise ConfigError(f"{where}: expected {expected}, got {rule} = {limit!r:.40}")
        found[metric] = rules
    return found


def _retraining(value: Any) -> RetrainingRules:
    types = {"enabled": bool, "cooldown": str, "min_new_labels": int, "max_per_day": int, "confirm": bool}
    _check("retraining", value, types)
    for name, least in (("min_new_labels", 0), ("max_per_day", 1)):
        if value.get(name, least) < least:
            raise ConfigError(f"retraining: expected {name} to be {least} or more, got {value[name]}")
    return RetrainingRules(
        **{**value, **{name: _duration(value[name]) for name in value if name == "cooldown"}}
    )


def _target(value: Mapping[str, Any]) -> TargetConfig:
    _check("target", value, {"metric": str, "output": str, "probabilities": str, "classes": list})
    if "output" not in value:
        raise ConfigError("target: expected the output that the feedback is the truth of")
    classes = value.get("classes", [])
    if not all(isinstance(each, str | int | float) for each in classes):
        raise ConfigError("target: expected classes to be texts, numbers or booleans")
    metric = value.get("metric", value["output"])
    return TargetConfig(metric, value["output"], value.get("probabilities"), tuple(classes))


def _check(where: str, document: Any, types: Mapping[str, type]) -> None:
    prefix = f"{where}: " if where else ""
    if not isinstance(document, Mapping):
        raise ConfigError(f"{prefix}expected a table")
    for name, value in document.items():
        if name not in types:
            raise ConfigError(f"{prefix}unknown field '{name}'; the fields are {', '.join(types)}")
        if type(value) is not types[name]:
            expected, got = types[name].__name__, type(value).__name__
            raise ConfigError(f"{prefix}expected '{name}' to be {expected}, got {got}")


def _duration(text: Any) -> timedelta:
    if not isinstance(text, str) or not re.fullmatch(r"[1-9]\d{0,3}[mhd]", text):
        raise ConfigError(f"expected a duration such as 12h or 7d, got {text!r:.40}")
    return timedelta(**{UNITS[text[-1]]: int(text[:-1])})
