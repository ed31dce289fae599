"""`python -m rehearsal [SCENARIO…]`: exit code 0 all went as they should, 1 one did not, 2 usage."""

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
from tests.rehearsal.rehearsal import TESTS, THRESHOLDS, WATCH, WINDOW, Rehearsal, client, say
from tests.rehearsal.scenarios import SCENARIOS
from tests.rehearsal.tasks import engine_version, tasks

SIMULATED = """\
simulated: approvals and checks of the environments (passed at once); AKS (Deployments are containers, two for
  stable and one for a canary or baseline, weighed by the replicas that they stand for; the Service is nginx;
  no scheduler, no autoscaler, no NetworkPolicy, no probe after readiness); az and kubelogin (nobody logs in);
  the Key Vault (no image is signed)"""
REAL = "docker-registry, Azurite, git, Prometheus, nginx, kubectl kustomize"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the scenarios that are named, or all, from an empty cluster on; the first deployment always."""
    parser = argparse.ArgumentParser("rehearse", description="Run azure-pipelines.yml on this machine.")
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"default: all of {', '.join(SCENARIOS)}"
    )
    args = parser.parse_args(argv)
    # Told to stop, it still takes away what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if unknown := set(args.scenarios) - SCENARIOS.keys():
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    wanted = {"first_deployment", *args.scenarios} if args.scenarios else SCENARIOS.keys()
    try:
        return rehearse([name for name in SCENARIOS if name in wanted])
    except RehearsalError as exc:
        print(f"rehearse: {exc}", file=sys.stderr)
        return 1


def rehearse(names: Sequence[str]) -> int:
    """Runs the scenarios in their order, and stops at the first that does not go as it should."""
    pipeline = read_pipeline(ROOT / "azure-pipelines.yml")
    rows: list[tuple[str, str, float]] = []
    with (
        tempfile.TemporaryDirectory(prefix="scorebox-rehearsal-") as directory,
        running(Path(directory)) as parts,
    ):
        say(f"real: Docker engine {engine_version()}, {REAL}")
        say(f"stand-ins: {', '.join(tasks(parts.cluster))}; kubectl, az, kubelogin")
        say(SIMULATED)
        said = ", ".join(f"[{table}] {rule} = {value}" for table, rule, value in THRESHOLDS)
        say(f"narrowed: the Test stage runs only {TESTS}")
        say(f"          the canary is watched for {WATCH} over {WINDOW}, with {said}")
        with client(parts) as posting:
            rehearsal = Rehearsal(parts, pipeline, posting)
            rehearsal.begin()
            for name in names:
                say(f"\n{name}: {SCENARIOS[name].__doc__}")
                began = time.monotonic()
                try:
                    SCENARIOS[name](rehearsal)
                except AssertionError:
                    traceback.print_exc(limit=-3)
                    if rehearsal.runs:
                        print(rehearsal.runs[-1].log.read_text()[-6000:], file=sys.stderr)
                    rows.append((name, "FAILED", time.monotonic() - began))
                    break
                rows.append((name, "as it should", time.monotonic() - began))
    say("")
    for name, result, seconds in rows:
        say(f"{name:18} {result:14} {seconds:5.0f} s")
    return 0 if all(result != "FAILED" for _, result, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
