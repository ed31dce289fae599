"""Limits of measures and business metrics, and their metrics."""

import re
from pathlib import Path

import pytest

from monitor.config import parse_config
from monitor.errors import ConfigError
from monitor.limits import Limit, limits_of
from tests.monitor.test_serve import captured as captured
from tests.monitor.test_serve import served, wait_for

EVALUATION = {"accuracy": 0.95, "log_loss": 0.2}
DEFAULT = Limit("calibration_error", "max", "floor", 0.05)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, [DEFAULT]),
        ({"calibration_error": {"max": 0.1}}, [Limit("calibration_error", "max", "floor", 0.1)]),
        ({"accuracy": {"min": 0.8, "max_drop": 0.05}}, [DEFAULT, Limit("accuracy", "min", "gate", 0.9)]),
        ({"accuracy": {"min": 0.92, "max_drop": 0.05}}, [DEFAULT, Limit("accuracy", "min", "floor", 0.92)]),
        ({"log_loss": {"max": 1, "max_rise": 0.1}}, [DEFAULT, Limit("log_loss", "max", "gate", 0.3)]),
        ({"macro_f1": {"max_drop": 0.05}}, [DEFAULT]),
    ],
    ids=["default", "calibration", "gate", "floor", "rise", "no evaluation"],
)
def test_limits(limits: dict[str, dict[str, float]], expected: list[Limit]) -> None:
    """Of a floor and a gate, the one that is reached first is the limit."""
    found = list(limits_of(parse_config({"limits": limits}).limits, EVALUATION))
    assert [(each.metric, each.side, each.source) for each in found] == [
        (each.metric, each.side, each.source) for each in expected
    ]
    assert [each.value for each in found] == pytest.approx([each.value for each in expected])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"limits": {"acuracy": {"min": 1}}}, "limits.acuracy: unknown measure; the measures are accuracy"),
        ({"limits": {"accuracy": {}}}, "limits.accuracy: expected a table with min, max, max_drop"),
        ({"limits": {"accuracy": {"least": 1}}}, "limits.accuracy: expected min, max, .* got least = 1"),
        ({"limits": {"accuracy": {"min": "1"}}}, "limits.accuracy: expected min, .* got min = '1'"),
        ({"limits": {"accuracy": {"min": float("nan")}}}, "limits.accuracy: expected min, .* got min = nan"),
        ({"business": {"a": {"min": True}}}, "business.a: expected 'min' to be a finite number, got True"),
        ({"business": {"a": {"min": 1, "aggregate": "sum"}}}, "business.a: a sum depends on the traffic"),
        ({"business": {"a": 1}}, "business.a: expected a table"),
    ],
)
def test_invalid(document: dict[str, object], message: str) -> None:
    """A limit that could never be reached by what is measured is refused."""
    with pytest.raises(ConfigError, match=message):
        parse_config(document)


def test_metrics(captured: None) -> None:
    """Limits are exposed, those of a business metric for the longest window."""
    Path("monitor.toml").write_text(
        'windows = ["7d", "1d"]\n[limits.accuracy]\nmin = 0.5\n[business.revenue]\nmin = 1\nmax = 2.5\n'
    )
    with served() as url:
        body = wait_for(url, "monitor_up 1.0")
    labels = 'name="wine",version="2",metric="accuracy",side="min",source="floor"'
    assert f"model_quality_limit{{{labels}}} 0.5\n" in body
    assert re.findall(r"model_business_limit(\S+) (\S+)", body) == [
        ('{name="wine",window="7d",metric="revenue",side="min"}', "1.0"),
        ('{name="wine",window="7d",metric="revenue",side="max"}', "2.5"),
    ]
