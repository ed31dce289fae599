"""`monitoring/canary.toml`: by what a canary is judged."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release.errors import ReleaseError

RULES = {
    "requests": {"min"},
    "errors": {"max", "max_rise"},
    "p99_seconds": {"max", "max_rise"},
    "shed": {"max", "max_rise"},
    "psi": {"max"},
}


@dataclass(frozen=True)
class Thresholds:
    """What the file says.

    Attributes:
        min_requests: that each side must have answered in the window.
        limits: check → rule → number.
    """

    min_requests: float
    limits: Mapping[str, Mapping[str, float]]


def read_thresholds(path: Path) -> Thresholds:
    """Reads the thresholds at `path`: every check with every rule of `RULES`, and nothing else.

    Raises:
        ReleaseError: there is no such file, or it says something else.
    """
    try:
        document = tomllib.loads(path.read_text())
    except OSError as exc:
        raise ReleaseError(f"no thresholds at {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ReleaseError(f"{path} is not TOML: {exc}") from exc
    if document.keys() != RULES.keys():
        raise ReleaseError(f"{path}: expected the tables {', '.join(RULES)}, got {', '.join(document)}")
    for check, rules in RULES.items():
        _check(f"{path}: [{check}]", document[check], rules)
    if document["requests"]["min"] < 1:
        raise ReleaseError(f"{path}: [requests]: min is at least 1: nothing can be said of no request")
    return Thresholds(document.pop("requests")["min"], document)


def _check(where: str, given: Any, rules: set[str]) -> None:
    if not isinstance(given, dict) or given.keys() != rules:
        raise ReleaseError(f"{where}: expected {' and '.join(sorted(rules))}, got {given}")
    for rule, number in given.items():
        if type(number) not in (int, float) or not math.isfinite(number) or number < 0:
            raise ReleaseError(f"{where}: {rule} is a number, 0 or more, got {number!r}")
