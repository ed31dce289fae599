"""The recording rules calculate what `model_loader.drafting.drift_limits` does."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from model_loader.drafting.drift_limits import (
    EXTREMES,
    chance,
    chi_square_quantile,
    highest_share,
    limit_z,
    lowest_share,
    psi,
)
from tests.monitoring.conftest import RULES, program

MINUTES = 90
# Name, label, the baseline's shares, with `missing` and `outside` last.
DISTRIBUTIONS = (
    ("feature", "ten", [*[0.098] * 10, 0.0, 0.02]),
    ("feature", "rare", [0.9, 0.08, 0.015, 0.005, 0.0, 0.0, 0.0]),
    ("feature", "with_missing", [0.3, 0.3, 0.3, 0.1, 0.0]),
    ("output", "label", [0.5, 0.5, 0.0, 0.0]),
)
POD = 'namespace="ns", pod="a"'


def names(bins: int) -> list[str]:
    """Return names of bins, `missing` and `outside` last."""
    return [*(f"{i}..{i + 1}" for i in range(bins - 2)), "missing", "outside"]


def series(name: str, labels: str, values: str) -> dict[str, str]:
    """Return an input series of a promtool test."""
    return {"series": f'{name}{{job="demo", {labels}}}', "values": values}


def is_close(record: str, labels: str, expected: Any) -> dict[str, Any]:
    """Return a promtool test of a recorded number, with a tolerance."""
    return {
        "expr": f"count(abs({record}{{{labels}}} - {float(expected)!r}) < 1e-6)",
        "eval_time": f"{MINUTES}m",
        "exp_samples": [{"value": 1}],
    }


@pytest.mark.parametrize("rows", [133, 500, 10_000])
def test_same_numbers(tmp_path: Path, rows: int) -> None:
    """All numbers that an alert depends on agree with those in Python, up to 1e-6."""
    numbers = np.random.default_rng(rows)
    z = limit_z(len(DISTRIBUTIONS))
    inputs = [
        series("model_info", f'{POD}, name="m", version="1"', f"1x{MINUTES}"),
        series("model_baseline_rows", POD, f"{rows}x{MINUTES}"),
        series("model_drift_rows_total", POD, f"0+100x{MINUTES}"),
    ]
    checks = [is_close("version:model_drift:z", "", z)]
    for kind, name, shares in DISTRIBUTIONS:
        labels = f'{kind}="{name}"'
        # A value per row, except that `label` has two.
        per_minute = numbers.multinomial(200 if name == "label" else 100, shares) + (
            0.5 if name == "ten" else 0
        )
        for bin_, share, count in zip(names(len(shares)), shares, per_minute, strict=True):
            inputs += [
                series(
                    f"model_{kind}_expected_ratio", f'{POD}, {labels}, bin="{bin_}"', f"{share}x{MINUTES}"
                ),
                series(f"model_{kind}_bin_total", f'{POD}, {labels}, bin="{bin_}"', f"0+{count}x{MINUTES}"),
            ]
        baseline = rows * np.array(shares)
        scale = min(1, 100 / per_minute.sum())
        hour, quarter = per_minute * 60 * scale, per_minute * 15 * scale
        unit = chance(hour[:-2].sum(), baseline[:-2].sum())
        degrees = len(shares) - 3
        index = float(psi(hour[:-2], baseline[:-2]))
        excess = [
            lowest_share(quarter[i], quarter.sum(), z) - highest_share(baseline[i] + more, rows, z)
            for i, more in ((-2, 0), (-1, EXTREMES))
        ]
        checks += [
            is_close("version:model_drift:psi1h", labels, index),
            is_close("version:model_drift:psi_excess1h", labels, index - degrees * unit),
            is_close("version:model_drift:psi_limit1h", labels, unit * chi_square_quantile(degrees, z)),
            is_close("version:model_bin:excess15m", f'{labels}, bin="missing"', excess[0]),
            is_close("version:model_bin:excess15m", f'{labels}, bin="outside"', excess[1]),
        ]
    case = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": checks}],
    }
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(case))
    done = subprocess.run(
        [program("promtool"), "test", "rules", str(tmp_path / "test.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
