"""`python -m release`: exit code 0 done, 1 failed or rejected, 2 wrong usage, 3 not enough data."""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from model_loader.errors import LoaderError
from model_loader.registry.ledger import STAGES
from model_loader.text_tables import table
from release.canary_gate import HEADER, NOT_YET, PASS, REJECT, compare, table_row, verdict
from release.errors import NotEnoughData, ReleaseError
from release.prometheus import Prometheus
from release.record_release import PRODUCTION, record
from release.release_log import FIELDS
from release.rollback import choose_release, roll_back
from release.status import collect, difference, status_table
from release.thresholds import Thresholds, read_thresholds

EXIT_CODES = {PASS: 0, REJECT: 1, NOT_YET: 3}
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600}
INTERVAL_S = 5
EPILOG = """\
environment:
  PROMETHEUS_TOKEN   bearer token for Prometheus, if it needs one
  MODEL_STORE        store that has the ledger; default: the one that model.lock names
  MODEL_PUBLISHER    name for entries in releases.jsonl and the ledger; default: user@host

exit codes: 0 done, 1 failed or rejected (the message gives the reason), 2 wrong usage, 3 not enough data
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser. Each command sets `run` to the function that runs it."""
    parser = argparse.ArgumentParser(
        prog="python -m release",
        description="Release built images to production, and roll them back.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    text = "compare the canary with the stable pods; exit code 0: pass, 1: reject, 3: not enough data"
    gate = subparsers.add_parser("canary-gate", help=text, description=text, allow_abbrev=False)
    gate.set_defaults(run=run_gate)
    gate.add_argument("--prometheus", type=_url, required=True, metavar="URL", help="URL of the server")
    gate.add_argument(
        "--window",
        type=_duration,
        default="5m",
        metavar="DURATION",
        help="time range of the comparison; default: 5m",
    )
    gate.add_argument(
        "--watch",
        type=_duration,
        metavar="DURATION",
        help="repeat the comparison for this long, until a reject; default: compare once",
    )
    gate.add_argument(
        "--thresholds",
        type=_thresholds,
        default="monitoring/canary.toml",
        metavar="FILE",
        help="default: monitoring/canary.toml",
    )
    gate.add_argument(
        "--namespace",
        type=_namespace,
        default="scorebox-production",
        metavar="NAME",
        help="namespace of the canary; default: scorebox-production",
    )

    text = "record the release that the pods run: in the ledger, model.lock and releases.jsonl"
    recording = subparsers.add_parser("record", help=text, description=text, allow_abbrev=False)
    recording.set_defaults(run=run_record)
    recording.add_argument(
        "--image",
        type=_image,
        required=True,
        metavar="REPOSITORY@sha256:…",
        help="image that all pods must run",
    )
    recording.add_argument(
        "--stage",
        choices=STAGES,
        default=PRODUCTION,
        help="stage of the pods and the ledger; staging leaves model.lock and releases.jsonl unchanged; "
        "default: production",
    )

    text = "show which model is in production; exit code 1 if ledger, model.lock, image and pods differ"
    which = subparsers.add_parser("which", help=text, description=text, allow_abbrev=False)
    which.set_defaults(run=run_which)

    text = "restore an earlier release in production, and record that"
    rolling = subparsers.add_parser("rollback", help=text, description=text, allow_abbrev=False)
    rolling.set_defaults(run=run_rollback)
    rolling.add_argument(
        "--to",
        metavar="RELEASE",
        help="a commit, an image's digest or NAME/VERSION in releases.jsonl; default: the release before",
    )
    rolling.add_argument("--reason", type=_reason, metavar="TEXT", help="a note for the history")
    return parser


def run_gate(args: argparse.Namespace) -> int:
    """Run `canary-gate`."""
    prometheus = Prometheus(args.prometheus)
    watch_s = int(args.watch[:-1]) * SECONDS_PER_UNIT[args.watch[-1]] if args.watch else 0
    end = time.monotonic() + watch_s
    while True:
        try:
            results = compare(prometheus, args.namespace, args.window, args.thresholds)
        except NotEnoughData as exc:
            report, result = f"release: {exc}", NOT_YET
        else:
            report = table(HEADER, [table_row(each) for each in results])
            result = verdict(results)
        if result == REJECT or time.monotonic() >= end:
            break
        time.sleep(max(0.0, min(INTERVAL_S, end - time.monotonic())))
    print(report)
    print(f"canary in {args.namespace}, last {args.window}: {result}")
    return EXIT_CODES[result]


def run_record(args: argparse.Namespace) -> int:
    """Run `record`."""
    print(record(args.image, args.stage))
    return 0


def run_which(args: argparse.Namespace) -> int:  # noqa: ARG001  (it has no options)
    """Run `which`."""
    statuses = collect()
    print(status_table(statuses))
    if mismatch := difference(statuses):
        print(f"mismatch: {mismatch}")
        return 1
    print(f"all agree: {statuses[0].model}")
    return 0


def run_rollback(args: argparse.Namespace) -> int:
    """Run `rollback`."""
    release = choose_release(args.to)
    print(f"rolling back to {release.image}, {release.model}, commit {release.commit}, of {release.time}")
    print(roll_back(release, args.reason))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    args = build_parser().parse_args(argv)
    try:
        code: int = args.run(args)
    except (ReleaseError, LoaderError) as exc:
        print("release:", " ".join(str(exc).split()), file=sys.stderr)
        return 1
    return code


def _duration(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,5}[smh]", text):
        raise argparse.ArgumentTypeError(f"expected a duration such as 90s or 5m, got {text!r}")
    return text


def _namespace(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"expected a namespace, got {text!r}")
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
    sys.exit(main())
