"""`python -m release`: exit code 0 done, 1 failed or rejected, 2 wrong usage, 3 undecided, 130 cancelled."""

import argparse
import json
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from model_loader.commands.arguments import refuse_credentials
from model_loader.commands.parser import Parser
from model_loader.errors import LoaderError
from model_loader.package.version_option import add_version_option
from model_loader.registry.ledger import BUILD, STAGES
from model_loader.store.secrets import scrub
from release.canary_checks import PASS, REJECT
from release.canary_gate import NOT_YET, CanaryGate
from release.canary_watch import CanaryWatch
from release.errors import NotEnoughData, ReleaseError
from release.evidence import collect_evidence
from release.namespace_options import add_namespace_options
from release.prometheus import Prometheus
from release.record_release import PRODUCTION, record, record_build
from release.release_log import FIELDS
from release.rollback import choose_release, roll_back
from release.rollback_plan import describe_rollback
from release.sample_replay import replay
from release.status import collect, difference, status_table, unavailable
from release.thresholds import Thresholds, read_thresholds

EXIT_CODES = {PASS: 0, REJECT: 1, NOT_YET: 3}
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600}
NOT_ASKED = 3
INTERRUPTED = 130
EPILOG = """\
environment:
  API_KEY            key for the service, if it needs one to answer replayed samples
  PROMETHEUS_TOKEN   bearer token for Prometheus, if it needs one
  MODEL_STORE        store that has the ledger; default: the one that model.lock names
  MODEL_PUBLISHER    name for entries in releases.jsonl and the ledger; default: user@host

exit codes: 0 done, 1 failed or rejected (the message gives the reason), 2 wrong usage, 3 undecided, or a
source is unavailable, 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser. Each command sets `run` to the function that runs it."""
    parser = Parser(
        prog="python -m release",
        description="Release built images to production, and roll them back.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_version_option(parser)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    text = "compare the canary with the stable release's pods; exit code 0: pass, 1: reject, 3: no decision"
    gate = subparsers.add_parser("canary-gate", help=text, description=text, allow_abbrev=False)
    gate.set_defaults(run=run_gate)
    gate.add_argument("--prometheus", type=_url, required=True, metavar="URL", help="URL of the server")
    gate.add_argument(
        "--watch",
        type=_duration,
        default="10m",
        metavar="DURATION",
        help="how long to compare; a reject ends it at once; default: 10m",
    )
    gate.add_argument(
        "--thresholds",
        type=_thresholds,
        default="monitoring/canary.toml",
        metavar="FILE",
        help="default: monitoring/canary.toml",
    )
    gate.add_argument(
        "--samples",
        type=Path,
        default="model",
        metavar="DIR|FILE",
        help="package, or its samples.json, to replay if too few requests come; default: model",
    )
    add_namespace_options(gate)

    text = "record the release that the pods run: in the ledger, model.lock and releases.jsonl"
    recording = subparsers.add_parser("record", help=text, description=text, allow_abbrev=False)
    recording.set_defaults(run=run_record)
    what = recording.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--image", type=_image, metavar="REPOSITORY@sha256:…", help="image that all pods must run"
    )
    what.add_argument(
        "--model", metavar="MODEL", help="model of a build, for --stage build: --locked or '--version N'"
    )
    recording.add_argument(
        "--stage",
        choices=(BUILD, *STAGES),
        default=PRODUCTION,
        help="stage of the pods and the ledger; staging leaves model.lock and releases.jsonl unchanged; "
        "build marks a model as taken up when its build begins; default: production",
    )

    text = (
        "show which model is in production; exit code 1: ledger, model.lock, image and pods differ, 3: one "
        "of them is unavailable, the others agree"
    )
    which = subparsers.add_parser("which", help=text, description=text, allow_abbrev=False)
    which.set_defaults(run=run_which)

    text = "print what registry and cluster know of an image, as JSON: labels, signature, pods in production"
    evidence = subparsers.add_parser("evidence", help=text, description=text, allow_abbrev=False)
    evidence.set_defaults(run=run_evidence)
    evidence.add_argument(
        "--image", type=_image, metavar="REPOSITORY@sha256:…", help="the image; default: only the pods"
    )

    text = "restore an earlier release in production, and record that"
    rolling = subparsers.add_parser("rollback", help=text, description=text, allow_abbrev=False)
    rolling.set_defaults(run=run_rollback)
    rolling.add_argument(
        "--to",
        metavar="RELEASE",
        help="a commit, an image's digest or NAME/VERSION in releases.jsonl; default: the release before",
    )
    rolling.add_argument("--reason", type=_reason, metavar="TEXT", help="a note for the history")
    rolling.add_argument("--dry-run", action="store_true", help="show what would be done, and change nothing")
    rolling.add_argument("--yes", action="store_true", help="do not ask; only a terminal is asked")
    return parser


def run_gate(args: argparse.Namespace) -> int:
    """Run `canary-gate`."""
    gate = CanaryGate(args.thresholds)
    watch = CanaryWatch(gate, Prometheus(args.prometheus), args.namespace)
    result, reason = NOT_YET, ""
    try:
        watch.run(int(args.watch[:-1]) * SECONDS_PER_UNIT[args.watch[-1]])
        if gate.result == NOT_YET:
            replay(gate, args.namespace, args.samples)
        result = gate.result
    except NotEnoughData as exc:
        # What was seen before may be enough to reject.
        result, reason = gate.result if gate.result == REJECT else NOT_YET, f": {exc}"
    print(gate.report())
    print(f"canary in {args.namespace}, watched for {args.watch}: {result}{reason}")
    return EXIT_CODES[result]


def run_record(args: argparse.Namespace) -> int:
    """Run `record`."""
    if (args.stage == BUILD) != (args.model is not None):
        raise ReleaseError("--stage build needs --model, any other stage needs --image")
    print(record_build(args.model.split()) if args.model else record(args.image, args.stage))
    return 0


def run_which(args: argparse.Namespace) -> int:  # noqa: ARG001  (it has no options)
    """Run `which`."""
    statuses = collect()
    print(status_table(statuses))
    errors = unavailable(statuses)
    for error in errors:
        print(f"unavailable: {error}")
    if found := difference(statuses):
        print(f"differs: {found}")
        return 1
    if errors:
        answered = any(not status.error for status in statuses)
        print("no difference between the sources that answered" if answered else "no source answered")
        return NOT_ASKED
    print(f"all agree: {statuses[0].model}")
    return 0


def run_evidence(args: argparse.Namespace) -> int:
    """Run `evidence`."""
    print(json.dumps(collect_evidence(args.image), ensure_ascii=False))
    return 0


def run_rollback(args: argparse.Namespace) -> int:
    """Run `rollback`."""
    release = choose_release(args.to)
    asks = sys.stdin.isatty() and not args.yes
    if args.dry_run or asks:
        print(describe_rollback(release, args.reason), flush=True)
    if args.dry_run:
        print("dry run: nothing was changed")
        return 0
    if asks and not _confirms(f"Roll {PRODUCTION} back?"):
        raise ReleaseError("nothing was changed")
    print(f"rolling back to {release.image}, {release.model}, commit {release.commit}, of {release.time}")
    print(roll_back(release, args.reason))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    refuse_credentials(parser, args)
    try:
        code: int = args.run(args)
    except (ReleaseError, LoaderError) as exc:
        print("release:", scrub(" ".join(str(exc).split())), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("release: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _confirms(question: str) -> bool:
    """Ask on the terminal, and return whether the answer is yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _duration(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,5}[smh]", text):
        raise argparse.ArgumentTypeError(f"expected a duration such as 90s or 5m, got {text!r}")
    return text


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/?#@]+(/[^?#]*)?", text):
        raise argparse.ArgumentTypeError("expected http://HOST:PORT or https://HOST, without user or query")
    return text.rstrip("/")


def _image(text: str) -> str:
    if not re.fullmatch(FIELDS["image"], text):
        raise argparse.ArgumentTypeError(f"expected an image by digest, REPOSITORY@sha256:…, got {text!r}")
    return text


def _reason(text: str) -> str:
    if not re.fullmatch(FIELDS["note"], text):
        raise argparse.ArgumentTypeError(f"expected one line of text, got {text!r}")
    return text


def _thresholds(text: str) -> Thresholds:
    try:
        return read_thresholds(Path(text))
    except ReleaseError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


if __name__ == "__main__":
    # SIGTERM too ends git and kubectl and is reported: pipelines send it when a run is cancelled.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
