"""`replay`: captured rows through a candidate, beside what was answered then, and the gate `[replay]`."""

import json
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from model_loader.package.schema import read_schema
from model_loader.store.atomic import atomic_write
from model_loader.text_tables import table
from monitor.commands.arguments import add_data, given_spool, opened_lake, time_argument
from monitor.commands.data import Add
from monitor.config import read_config
from monitor.database import open_database
from monitor.errors import MonitorError
from monitor.replay import MAX_ROWS, Candidate, Replay, replay
from monitor.replay_gate import Check, check, read_limits
from monitor.report.replay_page import render_replay
from monitor.report.replay_tables import CHECK_HEADER, check_lines, summary, tables
from monitor.targets import VersionInfo, find_target


def add_commands(add: Add) -> None:
    """Add `replay`."""
    text = "score captured rows with another model, and compare with what was answered then"
    parser = add("replay", run_replay, text)
    add_data(parser)
    parser.add_argument(
        "--package",
        type=Path,
        required=True,
        metavar="DIR",
        help="package, draft or ONNX file of the candidate",
    )
    parser.add_argument(
        "--since", type=_since, default="7d", metavar="TIME", help="a time, or 12h or 7d ago; default: 7d"
    )
    parser.add_argument("--until", type=time_argument, metavar="TIME", help="default: now")
    parser.add_argument(
        "--rows", type=_rows, default=MAX_ROWS, metavar="N", help=f"most rows to replay; default: {MAX_ROWS}"
    )
    parser.add_argument(
        "--config", type=Path, default=Path("monitor.toml"), metavar="FILE", help="default: monitor.toml"
    )
    parser.add_argument(
        "--gate",
        type=Path,
        default=Path("gate.toml"),
        metavar="FILE",
        help="has [replay]; default: gate.toml",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write one HTML file")


def run_replay(args: Namespace) -> int:
    """Run `replay`; the exit code is 1 if the candidate does not pass the gate."""
    try:
        # Imported only on demand: the monitor's image has neither the service nor ONNX Runtime.
        from app.commands.score_rows import RowScorer
        from app.commands.scoring_files.errors import ScoringError
    except ImportError as exc:
        raise MonitorError(
            f"replay needs the service and its requirements.txt, run it in the clone: {exc}"
        ) from exc
    limits, config = read_limits(args.gate), read_config(args.config)
    try:
        scorer = RowScorer(args.package)
    except ScoringError as exc:
        raise MonitorError(str(exc)) from exc
    lake, until = opened_lake(args), args.until or datetime.now(UTC)
    since = until - args.since if isinstance(args.since, timedelta) else args.since
    name = args.name or scorer.package.manifest.name
    target = find_target(VersionInfo(scorer.package.manifest, read_schema(scorer.package)), config)
    candidate = Candidate(
        name,
        str(scorer.package),
        scorer.score,
        lambda: scorer.violations,
        scorer.max_missing,
        scorer.withheld,
        target,
    )
    # Rows are found by the start of their segment, which is before them, by at most a day.
    first = (since - timedelta(days=1)).strftime("%Y-%m-%d")
    with open_database(lake, [name], spool=given_spool(), since=first, memory=args.memory) as connection:
        found = replay(connection, candidate, config, since, until, args.rows)
    checks = check(limits, found)
    if args.json:
        document = {**asdict(found), "checks": [asdict(each) for each in checks]}
        _write(args.json, json.dumps(document, indent=2, ensure_ascii=False, default=str))
    if args.out:
        _write(args.out, render_replay(found, checks))
    print(to_text(found, checks))
    failed = [each.rule for each in checks if not each.passed]
    if failed:
        raise MonitorError(f"{candidate.title} does not pass [replay] of {args.gate}: {', '.join(failed)}")
    return 0


def to_text(found: Replay, checks: Sequence[Check]) -> str:
    """Return what a person wants to know, as tables."""
    parts = [summary(found)]
    if found.replayed:
        parts += [table(header, lines) for _, header, lines in tables(found) if lines]
    if checks:
        parts.append(table(CHECK_HEADER, check_lines(checks)))
    return "\n\n".join(parts)


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())


def _since(text: str) -> datetime | timedelta:
    if found := re.fullmatch(r"([1-9]\d{0,3})([hd])", text):
        return timedelta(**{"hours" if found[2] == "h" else "days": int(found[1])})
    return time_argument(text)


def _rows(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise ArgumentTypeError(f"expected a number from 1, got {text!r}")
    return int(text)
