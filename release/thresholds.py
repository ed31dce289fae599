"""The canary gate's thresholds, read from `monitoring/canary.toml`."""

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
    """The thresholds of a canary.

    Attributes:
        min_requests: number of requests that canary and stable pods must each answer in the window.
        limits: check → rule (`max` or `max_rise`) → number.
    """

    min_requests: float
    limits: Mapping[str, Mapping[str, float]]


def read_thresholds(path: Path) -> Thresholds:
    """Read the thresholds at `path`. The file must have every check and rule of `RULES`, and no others.

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
    for check, rules in RULES.items():
        _check_table(f"{path}: [{check}]", document[check], rules)
    if document["requests"]["min"] < 1:
        raise ReleaseError(f"{path}: [requests]: min must be at least 1, got {document['requests']['min']}")
    return Thresholds(document.pop("requests")["min"], document)


def _check_table(label: str, table: Any, rules: set[str]) -> None:
    if not isinstance(table, dict) or table.keys() != rules:
        raise ReleaseError(f"{label}: expected {' and '.join(sorted(rules))}, got {table}")
    for rule, number in table.items():
        if type(number) not in (int, float) or not math.isfinite(number) or number < 0:
            raise ReleaseError(f"{label}: {rule} must be a number of 0 or more, got {number!r}")
