"""`python -m release`: exit code 0 is done, 1 refused with a sentence on stderr, 2 wrong usage, 3 not yet."""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from model_loader.errors import LoaderError
from model_loader.registry.ledger import STAGES
from model_loader.text_tables import table
from release.canary_gate import NOT_YET, PASS, REJECT, cells, judge, verdict
from release.errors import NotEnoughData, ReleaseError
from release.prometheus import Prometheus
from release.record_release import PRODUCTION, record
from release.release_log import FIELDS
from release.rollback import choose, roll_back
from release.status import ask, difference, show
from release.thresholds import Thresholds, read_thresholds

CODES = {PASS: 0, REJECT: 1, NOT_YET: 3}
SECONDS = {"s": 1, "m": 60, "h": 3600}
INTERVAL_S = 5
EPILOG = """\
environment:
  PROMETHEUS_TOKEN   sent to Prometheus as a bearer token, where it is set
  MODEL_STORE        the store whose ledger is meant; default the one that model.lock names
  MODEL_PUBLISHER    who releases.jsonl and the ledger say did it; default user@host

exit codes: 0 done, 1 refused (the message says why), 2 usage, 3 not enough data
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line, each command with the function that runs it as `run`."""
    parser = argparse.ArgumentParser(
        prog="python -m release",
        description="What takes a built image into production and back.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    text = "hold the canary against stable: 0 pass, 1 reject, 3 not enough data"
    gate = subparsers.add_parser("canary-gate", help=text, description=text, allow_abbrev=False)
    gate.set_defaults(run=run_gate)
    gate.add_argument("--prometheus", type=_url, required=True, metavar="URL", help="of the server to ask")
    gate.add_argument(
        "--window", type=_duration, default="5m", metavar="DURATION", help="to judge by; default: 5m"
    )
    gate.add_argument(
        "--watch",
        type=_duration,
        metavar="DURATION",
        help="keep asking for so long; a reject ends it at once; default: ask once",
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
        help="of the canary; default: scorebox-production",
    )

    text = "write down what the pods carry: in the ledger, in model.lock and in releases.jsonl"
    recording = subparsers.add_parser("record", help=text, description=text, allow_abbrev=False)
    recording.set_defaults(run=run_record)
    recording.add_argument(
        "--image", type=_image, required=True, metavar="REPOSITORY@sha256:…", help="that all pods must carry"
    )
    recording.add_argument(
        "--stage",
        choices=STAGES,
        default=PRODUCTION,
        help="whose pods and ledger; lock and releases are production's; default: production",
    )

    text = "ask ledger, model.lock, image and pods which model is in production; 1 where they differ"
    which = subparsers.add_parser("which", help=text, description=text, allow_abbrev=False)
    which.set_defaults(run=run_which)

    text = "put an earlier release back into production, and write that down"
    rolling = subparsers.add_parser("rollback", help=text, description=text, allow_abbrev=False)
    rolling.set_defaults(run=run_rollback)
    rolling.add_argument(
        "--to",
        metavar="RELEASE",
        help="a commit, an image's digest or NAME/VERSION in releases.jsonl; default: the one before",
    )
    rolling.add_argument("--reason", type=_reason, metavar="TEXT", help="a note for the history")
    return parser


def run_gate(args: argparse.Namespace) -> int:
    """`canary-gate`."""
    prometheus = Prometheus(args.prometheus)
    end = time.monotonic() + (int(args.watch[:-1]) * SECONDS[args.watch[-1]] if args.watch else 0)
    while True:
        try:
            rows = judge(prometheus, args.namespace, args.window, args.thresholds)
        except NotEnoughData as exc:
            said, result = f"release: {exc}", NOT_YET
        else:
            said = table(("CHECK", "CANARY", "STABLE", "LIMIT", "RESULT"), [cells(row) for row in rows])
            result = verdict(rows)
        if result == REJECT or time.monotonic() >= end:
            break
        time.sleep(max(0.0, min(INTERVAL_S, end - time.monotonic())))
    print(said)
    print(f"canary in {args.namespace}, last {args.window}: {result}")
    return CODES[result]


def run_record(args: argparse.Namespace) -> int:
    """`record`."""
    print(record(args.image, args.stage))
    return 0


def run_which(args: argparse.Namespace) -> int:  # noqa: ARG001  (it has no options)
    """`which`."""
    answers = ask()
    print(show(answers))
    if differ := difference(answers):
        print(f"they do not agree: {differ}")
        return 1
    print(f"all agree: {answers[0].model}")
    return 0


def run_rollback(args: argparse.Namespace) -> int:
    """`rollback`."""
    release = choose(args.to)
    print(f"going back to {release.image}, {release.model}, commit {release.commit}, of {release.time}")
    print(roll_back(release, args.reason))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command, and returns the exit code."""
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
        raise argparse.ArgumentTypeError(f"expected the name of a namespace, got {text!r}")
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
        raise argparse.ArgumentTypeError("expected a line of text")
    return text


def _thresholds(text: str) -> Thresholds:
    try:
        return read_thresholds(Path(text))
    except ReleaseError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


if __name__ == "__main__":
    sys.exit(main())
