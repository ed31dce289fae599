"""Runs suites, and writes results.json, a page and charts; see README.md."""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from benchmarks.charts import draw
from benchmarks.environments import versions
from benchmarks.errors import BenchmarkError
from benchmarks.peer import PEERS, ROOT
from benchmarks.results import Cells, Document, machine, merge, page
from benchmarks.server import Field
from benchmarks.suites import SUITES, Suite, cell_of, offers

RESULTS = "results.json"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code: 0 done, 1 a number could not be had, 2 usage."""
    today = datetime.now(UTC).date().isoformat()
    parser = argparse.ArgumentParser("bench", description="Measure Scorebox and its peers alike.")
    parser.add_argument("--only", nargs="+", choices=SUITES, default=list(SUITES), metavar="SUITE")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    parser.add_argument("--runs", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement; default: 5")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results" / today, help="default: results/<date>"
    )
    args = parser.parse_args(argv)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("bench: two CPUs are needed, one for the server and one for the load", file=sys.stderr)
        return 1

    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / RESULTS
    document: Document = json.loads(path.read_text()) if path.exists() else {}
    document |= {"machine": machine()}
    # So that servers are stopped then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # The load is this process and its children; a server says itself that it wants the other core.
    os.sched_setaffinity(0, {cores[1]})
    about = {"date": today, "runs": args.runs, "seconds": args.seconds}
    try:
        told = {name: versions(name) for name in args.peers}
        document["versions"] = document.get("versions", {}) | told
        for name in (suite for suite in SUITES if suite in args.only):
            with tempfile.TemporaryDirectory(prefix="bench-") as work:
                field = Field(Path(work), cores[0])
                found = run(name, field, args.peers, args.runs, args.seconds, document)
            document = merge(document, name, found, about)
            path.write_text(json.dumps(document, indent=1) + "\n")
            (args.out / "README.md").write_text(page(document, draw(document, args.out)))
    except BenchmarkError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    print(args.out / "README.md")
    return 0


def run(
    name: str, field: Field, peers: Sequence[str], runs: int, seconds: float, document: Document
) -> dict[str, Cells]:
    """Runs one suite: all peers in turn, then all again from the next one on; none has the better hour.

    Returns:
        Peer → cell → metric → the value of each run.
    """
    suite: Suite = SUITES[name]
    taking_part = [peer for peer in peers if peer in suite.peers]
    found: dict[str, Cells] = {}
    for number in range(runs):
        turn = number % max(1, len(taking_part))
        order = taking_part[turn:] + taking_part[:turn]
        for peer, (label, setup) in product(order, suite.setups.items()):
            if not offers(peer, setup):
                continue
            print(f"{name} {number + 1}/{runs} {peer} {label}".rstrip(), file=sys.stderr)
            with field.serving(peer, setup) as server:
                cells = suite.measure(server, seconds, document)
            for cell, values in cells.items():
                kept = found.setdefault(peer, {}).setdefault(cell_of(label, cell), {})
                for metric, value in values.items():
                    kept.setdefault(metric, []).append(value)
    return found


if __name__ == "__main__":
    sys.exit(main())
