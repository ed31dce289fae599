"""Time and memory of the monitor over many captured rows: `compact`, `quality` and `report`.

    python -m benchmarks.data [--rows 10000000] [--memory 2GB]

Generates predictions of 13 features and three probabilities, over 28 days, with labels for four of five, and
runs the monitor's commands over them, each in a process of its own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from model_loader.text_tables import table
from monitor.layout import Kind, Segment

ROOT = Path(__file__).parents[1]
ROWS, FEATURES, CLASSES = 10_000_000, 13, 3
FIRST, DAYS = date(2026, 1, 1), 28
# Rows of a segment, as of a busy worker.
SEGMENT_ROWS = 50_000
MEMORY = "2GB"
CONFIG = """
[target]
metric = "label"
output = "label"
probabilities = "probabilities"
classes = [0, 1, 2]

[slices]
strength = "CASE WHEN (inputs->>'feature_0')::DOUBLE >= 0.5 THEN 'high' ELSE 'low' END"
"""


@dataclass(frozen=True)
class Cost:
    """What a command has used.

    Attributes:
        wall_s, cpu_s: elapsed and CPU time.
        peak_mb: highest resident memory.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 a command failed."""
    parser = argparse.ArgumentParser("python -m benchmarks.data", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS, help=f"default: {ROWS:,}")
    parser.add_argument("--memory", default=MEMORY, help=f"of DuckDB; default: {MEMORY}")
    args = parser.parse_args(argv)
    lines = []
    with tempfile.TemporaryDirectory(prefix="scoring-data-") as work:
        directory = Path(work)
        started = time.monotonic()
        generate(directory / "captured", args.rows)
        print(f"generated in {time.monotonic() - started:.0f} s", file=sys.stderr)
        (directory / "monitor.toml").write_text(CONFIG)
        judging = ("--at", (FIRST + timedelta(DAYS)).isoformat())
        for command in (("compact",), ("quality", *judging), ("report", *judging)):
            cost = run(directory, (*command, "--memory", args.memory))
            if cost is None:
                print(f"{command[0]} failed", file=sys.stderr)
                return 1
            lines.append([command[0], f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}", f"{cost.peak_mb:.0f}"])
        sizes = _sizes(directory)
    print(table(("COMMAND", "SECONDS", "CPU SECONDS", "PEAK MB"), lines))
    print()
    print(table(("FILES", "MB"), sizes))
    return 0


def generate(store: Path, rows: int) -> None:
    """Write segments of predictions and feedback into a store."""
    features = ", ".join(f"feature_{n} := round(random(), 4)::FLOAT" for n in range(FEATURES))
    # The more certain the answer, the more often it is right.
    source = (
        "SELECT *, greatest(p, 1 - p) AS top FROM (SELECT md5(i::VARCHAR) AS id, i % {classes} AS label, "
        "round(0.5 + random() / 2, 6) AS p, {moment} AS moment FROM range({begin}, {end}) AS t(i))"
    )
    selects: dict[Kind, str] = {
        "prediction": (
            "SELECT id, 0 AS row, moment AS time, id AS request_id, 'anonymous' AS caller, 'wine' AS name, "
            "1 AS version, 'sha256:00' AS digest, 1.0 AS ratio, 200 AS status, "
            f"struct_pack({features}) AS inputs, struct_pack(label := label, probabilities := "
            "[CASE WHEN label = n THEN top ELSE (1 - top) / 2 END for n in range(3)]) AS outputs FROM source"
        ),
        "feedback": (
            "SELECT id, 0 AS row, moment AS time, 'anonymous' AS caller, 'label' AS metric, "
            "CASE WHEN random() < top THEN label ELSE (label + 1) % 3 END AS value "
            "FROM source WHERE random() < 0.8"
        ),
    }
    with duckdb.connect() as connection:
        for number, begin in enumerate(range(0, rows, SEGMENT_ROWS)):
            end = min(begin + SEGMENT_ROWS, rows)
            day = FIRST + timedelta(begin * DAYS // rows)
            moment = (
                f"strftime(TIMESTAMP '{day}' + to_seconds((i - {begin}) * 80000.0 / {SEGMENT_ROWS}), "
                "'%Y-%m-%dT%H:%M:%S.%fZ')"
            )
            made = source.format(classes=CLASSES, moment=moment, begin=begin, end=end)
            for kind, select in selects.items():
                segment = Segment("wine", kind, f"pod-1-{day:%Y%m%d}T000000000Z-{number}")
                path = store / segment.object_name
                path.parent.mkdir(parents=True, exist_ok=True)
                connection.execute(
                    f"COPY (WITH source AS ({made}) {select}) TO '{path}' (FORMAT json, COMPRESSION gzip)"
                )


def run(directory: Path, arguments: Sequence[str]) -> Cost | None:
    """Run a command of the monitor in a directory; return what it has used, or None if it failed."""
    started = time.monotonic()
    with (directory / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor", *arguments],
            cwd=directory,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=output,
        )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        return None
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _sizes(directory: Path) -> list[tuple[str, str]]:
    """Return the sizes of segments and Parquet files, in MB, as rows of a table."""
    return [
        (name, f"{sum(path.stat().st_size for path in (directory / 'captured').rglob(pattern)) / 1e6:.0f}")
        for name, pattern in (("segments, compressed", "*.jsonl.gz"), ("Parquet files", "*.parquet"))
    ]


if __name__ == "__main__":
    sys.exit(main())
