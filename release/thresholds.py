"""The canary gate's thresholds, read from `monitoring/canary.toml`."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release.errors import ReleaseError


@dataclass(frozen=True)
class Range:
    """The valid values of a threshold; `above` and `below` themselves are invalid."""

    least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, number: float) -> bool:
        """Return whether a number is valid."""
        return self.least <= number and self.above < number < self.below

    def __str__(self) -> str:
        """Describe the range in messages."""
        limits = [("at least", self.least), ("above", self.above), ("below", self.below)]
        return " and ".join(f"{word} {limit:g}" for word, limit in limits if math.isfinite(limit))


SHARE = Range(above=0, below=1)
ODDS = Range(least=1)
# Table → threshold → valid values.
RULES: Mapping[str, Mapping[str, Range]] = {
    "watch": {"alpha": SHARE, "min_requests": Range(least=1)},
    "errors": {"max": SHARE, "odds": ODDS},
    "shed": {"max": SHARE, "odds": ODDS},
    "latency": {"max_p99_seconds": Range(above=0), "odds": ODDS},
    "output": {"odds": ODDS, "baseline_odds": ODDS},
}


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of a canary.

    Attributes:
        alpha: probability with which a canary as good as the stable release may be rejected in a watch.
        min_requests: number of requests that canary and control pods must each answer.
        limits: check → rule → number.
    """

    alpha: float
    min_requests: int
    limits: Mapping[str, Mapping[str, float]]


def read_thresholds(path: Path) -> Thresholds:
    """Read the thresholds at `path`. The file must have every table and threshold of `RULES`, and no others.

    Raises:
        ReleaseError: the file does not exist, or its content is invalid.
    """
    try:
        document = tomllib.loads(path.read_text())
    except OSError as exc:
        raise ReleaseError(f"cannot read the thresholds at {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ReleaseError(f"{path} is not TOML: {exc}") from exc
    if document.keys() != RULES.keys():
        raise ReleaseError(f"{path}: expected the tables {', '.join(RULES)}, got {', '.join(document)}")
    for name, rules in RULES.items():
        _check_table(f"{path}: [{name}]", document[name], rules)
    watch = document.pop("watch")
    return Thresholds(watch["alpha"], math.ceil(watch["min_requests"]), document)


def _check_table(label: str, table: Any, rules: Mapping[str, Range]) -> None:
    if not isinstance(table, dict) or table.keys() != rules.keys():
        raise ReleaseError(f"{label}: expected {' and '.join(rules)}, got {table}")
    for rule, number in table.items():
        if type(number) not in (int, float) or not math.isfinite(number) or number not in rules[rule]:
            raise ReleaseError(f"{label}: {rule} must be a number {rules[rule]}, got {number!r}")
