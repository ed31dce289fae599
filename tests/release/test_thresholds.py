"""`monitoring/canary.toml`: invalid thresholds."""

import re
from pathlib import Path

import pytest

from release.errors import ReleaseError
from release.thresholds import read_thresholds

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max = 0.02", "max = 'a lot'", "[errors]: max must be a number above 0 and below 1, got 'a lot'"),
        ("max = 0.02", "max = nan", "[errors]: max must be a number"),
        ("max = 0.02", "max = 0", "[errors]: max must be a number above 0"),
        ("max = 0.02", "", "[errors]: expected max and odds"),
        ("odds = 1.5", "odds = 0.9", "[output]: odds must be a number at least 1, got 0.9"),
        ("max_p99_seconds = 1.0", "p99 = 1.0", "[latency]: expected max_p99_seconds and odds"),
        ("max_p99_seconds = 1.0", "max_p99_seconds = true", "[latency]: max_p99_seconds must be a number"),
        ("[shed] ", "[psi] ", "expected the tables watch, errors, shed, latency, output, got"),
        ("alpha = 0.01", "alpha = 1", "[watch]: alpha must be a number above 0 and below 1, got 1"),
        (
            "min_requests = 300",
            "min_requests = 0",
            "[watch]: min_requests must be a number at least 1, got 0",
        ),
        ("[shed] ", "[shed ", "is not TOML"),
    ],
)
def test_invalid_thresholds(old: str, new: str, message: str, tmp_path: Path) -> None:
    """A missing or invalid threshold is refused, with its name."""
    text = (ROOT / "monitoring/canary.toml").read_text()
    assert old in text
    (tmp_path / "canary.toml").write_text(text.replace(old, new))
    with pytest.raises(ReleaseError, match=re.escape(message)):
        read_thresholds(tmp_path / "canary.toml")


def test_thresholds() -> None:
    """The thresholds of the repository are valid."""
    thresholds = read_thresholds(ROOT / "monitoring/canary.toml")
    assert (thresholds.alpha, thresholds.min_requests) == (0.01, 300)
    assert thresholds.limits.keys() == {"errors", "shed", "latency", "output"}
