"""`quality`, `report`, `serve`: how good the model is, for programs and for people."""

import json
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_loader.registry.ledger import read_ledger
from model_loader.store import Store
from model_loader.store.atomic import atomic_write
from model_loader.store.secrets import scrub
from model_loader.text_tables import number, table
from monitor.commands.arguments import (
    add_data,
    add_models,
    chosen_model,
    given_spool,
    opened_lake,
    opened_models,
    seconds,
)
from monitor.commands.data import Add
from monitor.config import read_config
from monitor.database import open_database
from monitor.errors import MonitorError
from monitor.history import History, read_events
from monitor.measures import Measure
from monitor.prometheus import read_alerts, read_canaries
from monitor.quality import Quality, WindowQuality, calculate
from monitor.releases import LOG_FILE, read_releases
from monitor.report import Findings, find, render
from monitor.server import Result, serve

HEADER = ("VERSION", "WINDOW", "SLICE", "METRIC", "VALUE", "LOW", "HIGH", "ROWS")


def add_commands(add: Add) -> None:
    """Add the commands to the parser."""
    text = "print measures by version, window and slice, each with its interval of 95 %%"
    quality = add("quality", run_quality, text)
    add_data(quality)
    add_models(quality)
    quality.add_argument("--json", action="store_true", help="print JSON")

    serving = add("serve", run_serve, "serve the metrics to Prometheus, and the report as a page")
    add_data(serving)
    add_models(serving)
    serving.add_argument("--host", default="127.0.0.1", help="address to listen on; default: 127.0.0.1")
    serving.add_argument("--port", type=_port, default=9180, help="default: 9180")
    serving.add_argument(
        "--interval",
        type=seconds,
        default=300.0,
        metavar="SECONDS",
        help="between calculations; default: 300",
    )

    report = add("report", run_report, "write one HTML file about the model in production")
    add_data(report)
    add_models(report)
    text = "URL, for alerts and canaries in the history; PROMETHEUS_TOKEN is its token; default: none"
    for parser in (serving, report):
        parser.add_argument("--prometheus", type=_url, metavar="URL", help=text)
        parser.add_argument(
            "--releases",
            type=Path,
            default=LOG_FILE,
            metavar="FILE",
            help="default: releases.jsonl, if it exists",
        )
    report.add_argument(
        "--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html"
    )


def run_report(args: Namespace) -> int:
    """Run `report`."""
    with atomic_write(args.out) as file:
        file.write(_result(args).page.encode())
    print(f"wrote {args.out}")
    return 0


def run_serve(args: Namespace) -> int:
    """Run `serve`."""
    serve(lambda: _result(args), args.host, args.port, args.interval)
    return 0


def _result(args: Namespace) -> Result:
    """Calculate the quality and the page about it."""
    lake, config, at = opened_lake(args), read_config(args.config), args.at or datetime.now(UTC)
    name = chosen_model(args, lake)
    with open_database(lake, [name], spool=given_spool(), memory=args.memory) as connection:
        models = opened_models(args)
        quality = calculate(connection, name, models, config, at)
        findings = find(connection, quality, config)
        return Result(quality, render(findings, _history(args, models, findings)))


def _history(args: Namespace, models: Store, findings: Findings) -> History:
    """Return what happened to the model; without canaries and alerts, if Prometheus is unavailable."""
    quality = findings.quality
    events = read_events(read_ledger(models, quality.name), read_releases(args.releases))
    if not args.prometheus:
        return History(events)
    window = args.prometheus, quality.at - findings.length, quality.at
    try:
        return History(events, read_canaries(*window), read_alerts(*window))
    except MonitorError as exc:
        return History(events, failure=scrub(str(exc)))


def run_quality(args: Namespace) -> int:
    """Run `quality`."""
    lake, config, at = opened_lake(args), read_config(args.config), args.at or datetime.now(UTC)
    name = chosen_model(args, lake)
    with open_database(lake, [name], spool=given_spool(), memory=args.memory) as connection:
        quality = calculate(connection, name, opened_models(args), config, at)
    print(json.dumps(to_json(quality), indent=2, ensure_ascii=False) if args.json else to_text(quality))
    return 0


def to_json(quality: Quality) -> dict[str, Any]:
    """Return a document with everything that was calculated."""
    return {
        "name": quality.name,
        "at": quality.at.isoformat(),
        "unmatched_labels": dict(quality.unmatched),
        "targets": {version: target and asdict(target) for version, target in quality.targets.items()},
        "faults": dict(quality.faults),
        "windows": [_window_json(each) for each in quality.windows],
    }


def to_text(quality: Quality) -> str:
    """Return a table of the measures, and a line on the labels of each version and window."""
    lines = [
        (str(each.version), each.window, slice_, measure.metric + ("*" if measure.is_estimate else ""),
         number(measure.value), number(measure.low), number(measure.high), str(measure.rows))
        for each in quality.windows
        for slice_, measure in _all_measures(each)
    ]  # fmt: skip
    notes = [
        f"version {each.version}, {each.window}: {counts.predictions} predictions, "
        f"{counts.failures} failures; {counts.labelled} labelled, {counts.late} late, "
        f"{counts.double} double, {counts.conflicting} conflicting, {counts.undeclared} of undeclared classes"
        for each in quality.windows
        for counts in (each.counts,)
    ]
    notes += [
        f"{window}: {count} labels of no captured prediction" for window, count in quality.unmatched.items()
    ]
    notes += [
        f"version {version}: no schema or monitor.toml says what its labels are the truth of"
        for version, target in quality.targets.items()
        if target is None and version not in quality.faults
    ]
    notes += [f"version {version} is not measured: {fault}" for version, fault in quality.faults.items()]
    if any(each.estimates and not each.has_enough_labels for each in quality.windows):
        notes.append(
            "* estimated without labels; it does not see that what is true has changed (concept drift)"
        )
    return "\n".join([table(HEADER, lines), "", *notes])


def _all_measures(window: WindowQuality) -> Iterator[tuple[str, Measure]]:
    yield "", window.counts.coverage
    estimates = () if window.has_enough_labels else window.estimates
    for measure in (*window.measured.measures, *estimates, *window.business):
        yield "", measure
    for slice_, values in window.slices.items():
        for value, group in values.items():
            for measure in group.measures:
                yield f"{slice_}={value}", measure


def _window_json(window: WindowQuality) -> dict[str, Any]:
    document = asdict(window)
    document["counts"]["coverage"] = asdict(window.counts.coverage)
    return document


def _port(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text) or int(text) > 65535:
        raise ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/?#@]+(/[^?#]*)?", text):
        raise ArgumentTypeError("expected http://HOST:PORT or https://HOST, without user or query")
    return text.rstrip("/")
