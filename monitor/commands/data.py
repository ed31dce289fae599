"""`ship`, `compact`, `query`: captured data is moved, put together, and read by people."""

import csv
import json
import math
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from model_loader.store import open_store
from model_loader.text_tables import table
from monitor.commands.arguments import (
    DEFAULT_SPOOL,
    add_data,
    add_store,
    chosen_model,
    date_argument,
    given_spool,
    opened_lake,
    seconds,
    store_url,
)
from monitor.compact import compact
from monitor.database import Connection, open_database, run
from monitor.errors import QueryError
from monitor.ship import log_pass, ship_forever, ship_once

Run = Callable[[Namespace], int]
Add = Callable[[str, Run, str], ArgumentParser]
FETCH_ROWS = 10_000


def add_commands(add: Add) -> None:
    """Add the commands to the parser."""
    ship = add("ship", run_ship, "move closed segments from the spool into the capture store")
    add_store(ship)
    ship.add_argument("--spool", type=Path, metavar="DIR", help=f"default: CAPTURE_DIR, or {DEFAULT_SPOOL}")
    ship.add_argument("--once", action="store_true", help="end after one pass; default: at SIGTERM")
    ship.add_argument(
        "--interval", type=seconds, default=5.0, metavar="SECONDS", help="time between passes; default: 5"
    )
    ship.add_argument(
        "--grace",
        type=seconds,
        default=20.0,
        metavar="SECONDS",
        help="time after SIGTERM for what is left; default: 20",
    )

    compacting = add(
        "compact", run_compact, "write each day's rows into one Parquet file beside its segments"
    )
    add_data(compacting)
    compacting.add_argument("--date", type=date_argument, help="the only day, YYYY-MM-DD; default: all")
    compacting.add_argument("--remove", action="store_true", help="remove the compacted segments")

    query = add("query", run_query, "run SQL over the views predictions, feedback, labels and joined")
    add_data(query)
    query.add_argument("sql", metavar="SQL", help="a query of DuckDB")
    query.add_argument("--since", type=date_argument, help="first day of the data; default: all")
    form = query.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV; default: a table")
    form.add_argument("--json", action="store_true", help="print a line of JSON for each row")


def run_ship(args: Namespace) -> int:
    """Run `ship`."""
    spool = args.spool or Path(os.environ.get("CAPTURE_DIR") or DEFAULT_SPOOL)
    store = open_store(store_url(args))
    if not args.once:
        return 0 if ship_forever(spool, store, args.interval, args.grace).failure is None else 1
    result = ship_once(spool, store)
    log_pass(result)
    if result.failure is not None:
        print("monitor:", result.failure, file=sys.stderr)
        return 1
    print(
        f"shipped {result.rows} rows of {result.segments} segments into {store.url}; {result.torn} torn lines"
    )
    return 0


def run_compact(args: Namespace) -> int:
    """Run `compact`."""
    lake = opened_lake(args)
    models = [args.name] if args.name else lake.models()
    for model in models:
        for day in compact(lake, model, date=args.date, remove=args.remove, memory=args.memory):
            print(f"{day.model} {day.kind} {day.date}: {day.rows} rows of {day.segments} segments")
    lake.purge()
    return 0


def run_query(args: Namespace) -> int:
    """Run `query`."""
    lake = opened_lake(args)
    models = [args.name] if args.name else lake.models() or [chosen_model(args, lake)]
    with open_database(
        lake, models, spool=given_spool(), since=args.since or "", memory=args.memory
    ) as connection:
        result = run(connection, args.sql)
        header = [column[0] for column in result.description or ()]
        if args.csv:
            writer = csv.writer(sys.stdout)
            writer.writerow(header)
            writer.writerows(map(_plain, row) for row in _rows(result))
        elif args.json:
            for row in _rows(result):
                print(json.dumps(dict(zip(header, map(_plain, row), strict=True)), ensure_ascii=False))
        else:
            lines = [["" if cell is None else str(_plain(cell)) for cell in row] for row in _rows(result)]
            print(table(header, lines))
    return 0


def _rows(result: Connection) -> Iterator[tuple[Any, ...]]:
    try:
        while found := result.fetchmany(FETCH_ROWS):
            yield from found
    except duckdb.Error as exc:
        raise QueryError(str(exc).strip()) from exc


def _plain(value: Any) -> Any:
    """Return a value that JSON has; times and numbers that it lacks as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)
