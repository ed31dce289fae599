"""Outputs as CSV: a scalar as it is, a vector or map in JSON, nothing for a rejected row."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson


def write_csv(source: Path, target: Path, names: Sequence[str]) -> None:
    """Write JSON Lines as CSV with a header line.

    Args:
        names: of the outputs, in the order of the columns.
    """
    with source.open("rb") as lines, target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for line in lines:
            values = orjson.loads(line) or {}
            writer.writerow([_cell(values.get(name)) for name in names])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
