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
        ("max = 0.25", "max = 'a lot'", "max must be a number"),
        ("max = 0.25", "max = nan", "max must be a number"),
        ("max = 0.25", "", "expected max"),
        ("[psi]\nmax = 0.25", "", "expected the tables"),
        ("min = 200", "min = 0", "at least 1"),
        ("[shed]", "[shed", "is not TOML"),
    ],
)
def test_invalid_thresholds(old: str, new: str, message: str, tmp_path: Path) -> None:
    """A missing or invalid threshold is refused, with its name."""
    text = (ROOT / "monitoring/canary.toml").read_text()
    assert old in text
    (tmp_path / "canary.toml").write_text(text.replace(old, new))
    with pytest.raises(ReleaseError, match=re.escape(message)):
        read_thresholds(tmp_path / "canary.toml")
