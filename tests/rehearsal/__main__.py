"""`python -m tests.rehearsal [SCENARIO…]`; exit code 0: all scenarios passed, 1: one failed, 2: usage."""

import argparse
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.parts import ROOT, running
from tests.rehearsal.pipeline import read_pipeline
from tests.rehearsal.rehearsal import TESTS, THRESHOLDS, WATCH, WINDOW, Rehearsal, client, report
from tests.rehearsal.scenarios import SCENARIOS
from tests.rehearsal.tasks import engine_version, tasks

SIMULATED = """\
simulated: approvals and checks of the environments (pass at once); AKS (Deployments are containers, two for
  stable and one each for canary and control, weighted by the replicas they represent; the Service is nginx;
  no scheduler, no autoscaler, no NetworkPolicy, no probes once a pod is ready); az and kubelogin (no login);
  the Key Vault (images are not signed)"""
REAL = "docker-registry, Azurite, git, Prometheus, nginx, kubectl kustomize"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named scenarios, or all, on an empty cluster. The first deployment always runs."""
    parser = argparse.ArgumentParser("rehearse", description="Run azure-pipelines.yml on this machine.")
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"default: all of {', '.join(SCENARIOS)}"
    )
    args = parser.parse_args(argv)
    # Raise SystemExit on SIGTERM, so that containers and servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if unknown := set(args.scenarios) - SCENARIOS.keys():
        parser.error(f"unknown scenario {', '.join(sorted(unknown))}; known: {', '.join(SCENARIOS)}")
    wanted = {"first_deployment", *args.scenarios} if args.scenarios else SCENARIOS.keys()
    try:
        return rehearse([name for name in SCENARIOS if name in wanted])
    except RehearsalError as exc:
        print(f"rehearse: {exc}", file=sys.stderr)
        return 1


def rehearse(names: Sequence[str]) -> int:
    """Run the scenarios in order, stop at the first failure, and return the exit code."""
    pipeline = read_pipeline(ROOT / "azure-pipelines.yml")
    rows: list[tuple[str, str, float]] = []
    with (
        tempfile.TemporaryDirectory(prefix="scorebox-rehearsal-") as directory,
        running(Path(directory)) as parts,
    ):
        report(f"real: Docker engine {engine_version()}, {REAL}")
        report(f"replaced: {', '.join(tasks(parts.cluster))}; kubectl, az, kubelogin")
        report(SIMULATED)
        thresholds = ", ".join(f"[{table}] {rule} = {value}" for table, rule, value in THRESHOLDS)
        report(f"reduced: the Test stage runs only {TESTS}")
        report(f"         the canary is watched for {WATCH} over {WINDOW}, with {thresholds}")
        with client(parts) as background_client:
            rehearsal = Rehearsal(parts, pipeline, background_client)
            rehearsal.begin()
            for name in names:
                report(f"\n{name}: {SCENARIOS[name].__doc__}")
                start = time.monotonic()
                try:
                    SCENARIOS[name](rehearsal)
                except AssertionError:
                    traceback.print_exc(limit=-3)
                    if rehearsal.runs:
                        print(rehearsal.runs[-1].log.read_text()[-6000:], file=sys.stderr)
                    rows.append((name, "FAILED", time.monotonic() - start))
                    break
                rows.append((name, "passed", time.monotonic() - start))
    report("")
    for name, result, seconds in rows:
        report(f"{name:18} {result:8} {seconds:5.0f} s")
    return 0 if all(result != "FAILED" for _, result, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
