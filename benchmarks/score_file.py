"""Rows a second of score_file, compared with single requests: `python -m benchmarks.score_file`.

The sample model of the clone scores a million random rows from a file of each format, and then answers single
requests of one of these rows each, on one connection after the other was answered.
"""

import argparse
import csv
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, sleep

import duckdb
import numpy as np

from model_loader.text_tables import table

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "model_store/wine/2"
PORT = 18099
START_S = 30
REQUESTS = 5000
FORMATS = ("csv", "jsonl", "parquet")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table with a row for each format."""
    parser = argparse.ArgumentParser("score_file", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="default: 1000000")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        # In another process, whose memory would count as that of the processes that this one starts.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            bodies = pool.submit(write_files, Path(work), args.rows).result()
        single = single_requests(bodies)
        lines = [("single requests", f"{single:,.0f}", "1", "-")]
        for suffix in FORMATS:
            rate, peak = scored(Path(work), suffix, args.rows)
            lines.append((suffix, f"{rate:,.0f}", f"{rate / single:.0f}", f"{peak:.0f}"))
    print(table(("ROWS FROM", "ROWS/S", "TIMES", "PEAK MB"), lines))
    return 0


def write_files(work: Path, rows: int) -> list[bytes]:
    """Write random rows in each format, and return the bodies of single requests of some of them."""
    features = json.loads((MODEL / "manifest.json").read_bytes())["features"]
    samples = json.loads((MODEL / "samples.json").read_bytes())
    mean = np.array([each["inputs"]["x"][0] for each in samples]).mean(axis=0)
    random = np.random.default_rng(0)
    x = (mean * (1 + 0.2 * random.standard_normal((rows, len(features))))).round(4)
    with (work / "in.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(features)
        writer.writerows(x.tolist())
    for suffix, options in (("jsonl", "FORMAT json"), ("parquet", "FORMAT parquet")):
        duckdb.sql(f"COPY (FROM read_csv('{work}/in.csv')) TO '{work}/in.{suffix}' ({options})")
    return [json.dumps([dict(zip(features, row, strict=True))]).encode() for row in x[:REQUESTS].tolist()]


def single_requests(bodies: Sequence[bytes]) -> float:
    """Return how many requests a second one client gets answered, of one row each."""
    with serving(), closing(http.client.HTTPConnection("127.0.0.1", PORT)) as connection:
        for bodies_of_turn in (bodies[:500], bodies):  # the first warms up
            began = monotonic()
            for body in bodies_of_turn:
                connection.request("POST", "/score", body, {"content-type": "application/json"})
                response = connection.getresponse()
                if response.status != 200:
                    raise SystemExit(f"expected status 200, got {response.status}: {response.read()!r}")
                response.read()
    return len(bodies) / (monotonic() - began)


@contextmanager
def serving() -> Iterator[None]:
    """Run the service with one worker."""
    environ = os.environ | {"MODEL_PATH": str(MODEL), "PORT": str(PORT), "HOST": "127.0.0.1"}
    environ |= {"WEB_CONCURRENCY": "1", "LOG_LEVEL": "warning"}
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn"], cwd=ROOT, env=environ, stdout=subprocess.DEVNULL
    )
    try:
        deadline = monotonic() + START_S
        while not is_ready():
            if monotonic() > deadline or process.poll() is not None:
                raise SystemExit("the service did not start")
            sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def is_ready() -> bool:
    """Return whether the service answers."""
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=1)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
    except OSError:
        return False


def scored(work: Path, suffix: str, rows: int) -> tuple[float, float]:
    """Score a file; return rows a second, the start included, and the most memory of the process, in MB."""
    files = [f"{work}/in.{suffix}", f"{work}/{suffix}.jsonl"]
    command = [sys.executable, "-m", "app.commands.score_file", *files, "--model", str(MODEL)]
    began = monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"score_file ended with {process.returncode}")
    return rows / seconds, usage.ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
