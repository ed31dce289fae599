"""`snapshot`: labelled rows are frozen, for training."""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.commands.arguments import (
    add_data,
    add_models,
    chosen_model,
    opened_lake,
    opened_models,
    time_argument,
)
from monitor.commands.data import Add
from monitor.config import read_config
from monitor.errors import NoRows
from monitor.snapshot import TEST_SHARE, Selection, Snapshot, take

UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add_commands(add: Add) -> None:
    """Add the command to the parser."""
    parser = add("snapshot", run_snapshot, "freeze labelled rows as Parquet files, for training")
    add_data(parser)
    add_models(parser, has_time=False)
    add_window(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="directory of the snapshot, empty or new"
    )
    parser.add_argument("--metric", help="of the feedback; default: that of the schema, or of monitor.toml")
    parser.add_argument(
        "--version", type=int, help="version whose schema the rows keep to; default: production, or latest"
    )
    parser.add_argument(
        "--test-share",
        type=_share,
        default=TEST_SHARE,
        metavar="SHARE",
        help=f"share of the newest rows, held out; default: {TEST_SHARE}",
    )
    parser.add_argument(
        "--min-rows", type=_count, default=1, metavar="ROWS", help="labelled rows that it takes; default: 1"
    )
    parser.add_argument(
        "--optional", action="store_true", help="write nothing, and end with 0, if there are fewer rows"
    )


def add_window(parser: ArgumentParser) -> None:
    """Add `--since` and `--until`."""
    parser.add_argument(
        "--since",
        type=since_argument,
        required=True,
        metavar="TIME",
        help="first time of the predictions, or how long before --until, such as 28d, 12h or 30m",
    )
    parser.add_argument(
        "--until", type=time_argument, metavar="TIME", help="end of the predictions; default: now"
    )


def window(args: Namespace) -> tuple[datetime, datetime]:
    """Return the first time of the predictions, and their end."""
    until = args.until or datetime.now(UTC)
    return until - args.since if isinstance(args.since, timedelta) else args.since, until


def since_argument(text: str) -> datetime | timedelta:
    """Parse a time, or a duration such as 28d, 12h or 30m."""
    if found := re.fullmatch(r"([1-9]\d{0,4})([mhd])", text):
        return timedelta(**{UNITS[found[2]]: int(found[1])})
    return time_argument(text)


def run_snapshot(args: Namespace) -> int:
    """Run `snapshot`."""
    try:
        snapshot = _taken(args)
    except NoRows as exc:
        if not args.optional:
            raise
        print(f"no snapshot: {exc}")
        return 0
    print("\n".join([f"wrote {args.out}, {snapshot.digest}", *describe(snapshot)]))
    return 0


def _taken(args: Namespace) -> Snapshot:
    lake = opened_lake(args)
    since, until = window(args)
    name = chosen_model(args, lake)
    if args.optional and name not in lake.models():
        raise NoRows(f"the store {lake.store.url} has no data of {name}")
    selection = Selection(name, since, until, args.metric, args.version, args.test_share, args.min_rows)
    return take(lake, opened_models(args), read_config(args.config), selection, args.out, args.memory)


def describe(snapshot: Snapshot) -> list[str]:
    """Return the sentences about what a snapshot has, and what was left out."""
    document, files = snapshot.document, snapshot.files
    lines = [
        f"{document['predictions']} predictions from {snapshot.since} to {snapshot.until}, "
        f"{document['labelled']} with '{snapshot.metric}' ({document['coverage']:.1%})",
        *(f"{name}: {file.rows} rows" for name, file in files.items()),
        f"left out: {document['conflicting']} with conflicting labels, {document['violating']} that violate "
        f"the schema of version {document['version']}; {document['duplicates']} duplicates",
    ]
    return lines + [f"  {rule}: {count}" for rule, count in document["violations"].items()]


def _share(text: str) -> float:
    if not re.fullmatch(r"0?\.\d{1,6}", text) or float(text) == 0:
        raise ArgumentTypeError(f"expected a share above 0 and below 1, got {text!r}")
    return float(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise ArgumentTypeError(f"expected a number of rows above 0, got {text!r}")
    return int(text)
