"""`python -m tests.rehearsal [SCENARIO…]`; exit code 0: all scenarios passed, 1: one failed, 2: usage."""

import argparse
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.rehearsal.clone import THRESHOLDS
from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.events import Events
from tests.rehearsal.parts import ROOT, running
from tests.rehearsal.pipeline import read_pipeline
from tests.rehearsal.rehearsal import TESTS, WATCH, Rehearsal, client, report
from tests.rehearsal.runner import Run
from tests.rehearsal.scenarios import ON_REQUEST, SCENARIOS
from tests.rehearsal.tasks import engine_version, tasks
from tests.rehearsal.world import World

SIMULATED = """\
simulated: approvals and checks of the connections (pass at once); AKS (API server with the Roles of
  deploy/azure/cluster.yaml, Deployments, autoscaler, garbage collection, one node; two containers run all
  pods of a stable revision, and one each those of canary and control; the Service is nginx, weighted by ready
  pods; no NetworkPolicy, no CronJobs, no probes once a pod is ready); az and kubelogin (no login); the Key
  Vault (images are not signed)"""
REAL = "docker-registry, Azurite, git, Prometheus, Alertmanager, nginx, kubectl kustomize"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named scenarios, or the usual ones, on an empty cluster. The first deployment always runs."""
    parser = argparse.ArgumentParser("rehearse", description="Run the release pipelines on this machine.")
    usual = [name for name in SCENARIOS if name not in ON_REQUEST]
    parser.add_argument(
        "scenarios",
        nargs="*",
        metavar="SCENARIO",
        help=f"default: {', '.join(usual)}; only on request: {', '.join(ON_REQUEST)}",
    )
    args = parser.parse_args(argv)
    # Raise SystemExit on SIGTERM, so that containers and servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if unknown := set(args.scenarios) - SCENARIOS.keys():
        parser.error(f"unknown scenario {', '.join(sorted(unknown))}; known: {', '.join(SCENARIOS)}")
    wanted = {"first_deployment", *args.scenarios} if args.scenarios else set(usual)
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
        tempfile.TemporaryDirectory(prefix="scoring-rehearsal-") as directory,
        running(Path(directory)) as parts,
    ):
        report(f"real: Docker engine {engine_version()}, {REAL}")
        report(f"replaced: {', '.join(tasks())}; kubectl, az, kubelogin")
        report(SIMULATED)
        thresholds = ", ".join(f"[{table}] {rule} = {value}" for table, rule, value in THRESHOLDS)
        report(f"reduced: the Test stage runs only {TESTS},")
        report("         and once for each system unless code has changed")
        report(f"         the canary is watched for {WATCH}, with {thresholds}")
        report("         a pod ends a second after it was removed from the Service, instead of ten")
        with (
            client(parts) as background_client,
            World(parts.service) as world,
            Events(parts.hooks) as events,
        ):
            rehearsal = Rehearsal(parts, pipeline, background_client, world, events)
            rehearsal.begin()
            for name in names:
                report(f"\n{name}: {SCENARIOS[name].__doc__}")
                start = time.monotonic()
                try:
                    SCENARIOS[name](rehearsal)
                except AssertionError:
                    traceback.print_exc(limit=-3)
                    for run in failed_runs(rehearsal)[-1:]:
                        print(run.log.read_text()[-6000:], file=sys.stderr)
                    rows.append((name, "FAILED", time.monotonic() - start))
                    break
                rows.append((name, "passed", time.monotonic() - start))
    report("")
    for name, result, seconds in rows:
        report(f"{name:18} {result:8} {seconds:5.0f} s")
    return 0 if all(result != "FAILED" for _, result, _ in rows) else 1


def failed_runs(rehearsal: Rehearsal) -> list[Run]:
    """Return the runs that have failed, or if none has, all."""
    return [run for run in rehearsal.runs if not run.succeeded] or rehearsal.runs


if __name__ == "__main__":
    sys.exit(main())
