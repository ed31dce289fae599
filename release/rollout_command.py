"""`python -m release.rollout_command`: roll a release out step by step, or reject it."""

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from model_loader.commands.parser import Parser
from model_loader.text_tables import short, table
from release.autoscaler import HELD, find_autoscaler, scale_down_policy
from release.cluster import Cluster
from release.errors import ReleaseError
from release.kubernetes import DEPLOYMENTS
from release.manifests import commit_of, image_of, model_of
from release.namespace_options import add_namespace_options
from release.pod_check import WAIT_S
from release.rollout import promote, reject, start, step
from release.rollout_state import LostRolloutError, read_state, run_id, runs_in_pipeline

INTERRUPTED = 130
EPILOG = """\
environment:
  ROLLOUT_RUN   id of the run that owns the rollout; default: azure-$BUILD_BUILDID, github-$GITHUB_RUN_ID or
                user@host

exit codes: 0 done, 1 failed (the message gives the reason; run `reject`), 2 wrong usage, 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser. Each command sets `run` to the function that runs it."""
    parser = Parser(
        "rollout",
        description="Roll a release out: a canary beside control pods, then all pods; or reject it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    commands = {
        "start": (run_start, "begin: reject what an earlier run left, and remember the objects as they are"),
        "step": (run_step, "run canary and control pods for a share of the stable pods, and check every pod"),
        "promote": (run_promote, "deploy to all pods, check them, and end the rollout"),
        "reject": (run_reject, "delete canary and control pods, and restore everything"),
        "status": (run_status, "show the rollout in progress"),
    }
    for name, (run, text) in commands.items():
        command = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.set_defaults(run=run)
        if name == "start":
            command.add_argument(
                "manifests",
                type=Path,
                metavar="MANIFESTS",
                help="the release's objects, as scripts/render prints them",
            )
        if name == "step":
            command.add_argument(
                "percent", type=_percent, metavar="PERCENT", help="of the stable pods, 1 to 100"
            )
        if name in ("step", "promote"):
            command.add_argument(
                "--wait",
                type=_seconds,
                default=WAIT_S,
                metavar="SECONDS",
                help=f"how long the checks of the pods may fail; default: {WAIT_S}",
            )
        add_namespace_options(command)
    return parser


def run_start(args: argparse.Namespace) -> None:
    """Run `start MANIFESTS`."""
    start(Cluster(args.namespace), args.manifests, run_id())


def run_step(args: argparse.Namespace) -> None:
    """Run `step PERCENT`."""
    step(Cluster(args.namespace), run_id(), args.percent, args.wait)


def run_promote(args: argparse.Namespace) -> None:
    """Run `promote`."""
    promote(Cluster(args.namespace), run_id(), args.wait)


def run_reject(args: argparse.Namespace) -> None:
    """Run `reject`. In a pipeline, a rollout that another run has taken over is not this run's to reject."""
    try:
        reject(Cluster(args.namespace), run_id())
    except LostRolloutError as exc:
        if exc.owner and not runs_in_pipeline():
            advice = (
                f"to reject it: ROLLOUT_RUN={exc.owner} scripts/rollout reject --namespace {args.namespace}"
            )
            raise ReleaseError(f"{exc}; {advice}") from exc
        print(f"rollout: {exc}: nothing to reject")


def run_status(args: argparse.Namespace) -> None:
    """Run `status`."""
    cluster = Cluster(args.namespace)
    rows = []
    for track, name in DEPLOYMENTS.items():
        if deployment := cluster.find("deployment", name):
            model, status = model_of(deployment), deployment.get("status", {})
            rows.append(
                (
                    track,
                    f"{status.get('readyReplicas', 0)}/{deployment['spec']['replicas']}",
                    "{}/{}".format(*model) if model else "unknown",
                    (commit_of(deployment) or "unknown")[:12],
                    short(image_of(deployment).rpartition("@")[2]),
                )
            )
    print(table(("TRACK", "READY", "MODEL", "COMMIT", "IMAGE"), rows))
    if autoscaler := find_autoscaler(cluster):
        spec = autoscaler["spec"]
        held = "held: removes no pods" if scale_down_policy(autoscaler) == HELD else "not held"
        print(f"autoscaler: {spec.get('minReplicas', 1)} to {spec['maxReplicas']} pods, {held}")
    if state := read_state(cluster):
        phase = "may have changed all objects" if state.changes_objects else "has changed no stable pod"
        print(f"rollout of {state.image} by {state.run} since {state.started}: {phase}")
    else:
        print(f"no rollout is in progress in {args.namespace}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    args = build_parser().parse_args(argv)
    # SIGTERM too ends kubectl and is reported: pipelines send it when a run is cancelled.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        args.run(args)
    except ReleaseError as exc:
        print(f"rollout: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        command = f"scripts/rollout reject --namespace {args.namespace}"
        print(f"rollout: interrupted; {command} restores the release before", file=sys.stderr)
        return INTERRUPTED
    return 0


def _percent(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]?|100", text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 100, got {text!r}")
    return int(text)


def _seconds(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text):
        raise argparse.ArgumentTypeError(f"expected whole seconds, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
