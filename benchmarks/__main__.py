"""Run suites, and write results.json, a page and charts; see README.md."""

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
from benchmarks.server import Workbench
from benchmarks.suites import SUITES, Suite, cell_of, offers

RESULTS = "results.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 a measurement failed, 2 usage."""
    today = datetime.now(UTC).date().isoformat()
    parser = argparse.ArgumentParser("bench", description="Measure Scorebox and its peers.")
    parser.add_argument("--only", nargs="+", choices=SUITES, default=list(SUITES), metavar="SUITE")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    parser.add_argument("--runs", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=int, default=5, help="duration of a measurement; default: 5")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results" / today, help="default: results/<date>"
    )
    args = parser.parse_args(argv)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print(f"bench: needs two CPUs, for server and load; available: {len(cores)}", file=sys.stderr)
        return 1

    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / RESULTS
    document: Document = json.loads(path.read_text()) if path.exists() else {}
    document |= {"machine": machine()}
    # Raise SystemExit on SIGTERM, so that servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # This process and its children generate the load. Servers are started with `taskset` on the other core.
    os.sched_setaffinity(0, {cores[1]})
    about = {"date": today, "runs": args.runs, "seconds": args.seconds}
    try:
        document["versions"] = document.get("versions", {}) | {name: versions(name) for name in args.peers}
        for name in (suite for suite in SUITES if suite in args.only):
            with tempfile.TemporaryDirectory(prefix="bench-") as work:
                workbench = Workbench(Path(work), cores[0])
                found = run(name, workbench, args.peers, args.runs, args.seconds, document)
            document = merge(document, name, found, about)
            path.write_text(json.dumps(document, indent=1) + "\n")
            (args.out / "README.md").write_text(page(document, draw(document, args.out)))
    except BenchmarkError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    print(args.out / "README.md")
    return 0


def run(
    name: str, workbench: Workbench, peers: Sequence[str], runs: int, seconds: float, document: Document
) -> dict[str, Cells]:
    """Run one suite.

    Each run measures all peers, starting with a different one, so that changes of the machine over time
    affect all of them.

    Returns:
        Peer → cell → metric → value of each run.
    """
    suite: Suite = SUITES[name]
    participants = [peer for peer in peers if peer in suite.peers]
    found: dict[str, Cells] = {}
    for number in range(runs):
        first = number % max(1, len(participants))
        order = participants[first:] + participants[:first]
        for peer, (label, setup) in product(order, suite.setups.items()):
            if not offers(peer, setup):
                continue
            print(f"{name} {number + 1}/{runs} {peer} {label}".rstrip(), file=sys.stderr)
            with workbench.serving(peer, setup) as server:
                cells = suite.measure(server, seconds, document)
            for cell, values in cells.items():
                metrics = found.setdefault(peer, {}).setdefault(cell_of(label, cell), {})
                for metric, value in values.items():
                    metrics.setdefault(metric, []).append(value)
    return found


if __name__ == "__main__":
    sys.exit(main())
