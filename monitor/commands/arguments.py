"""Arguments that several commands have, and what they select."""

import argparse
import os
import re
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path

from model_loader.store import Store, open_store
from monitor.database import MEMORY
from monitor.errors import MonitorError, NoRows
from monitor.lake import Lake
from monitor.ship import log_pass, ship_once

DEFAULT_STORE = "file:captured"
DEFAULT_SPOOL = "captured/spool"
DEFAULT_MODELS = "file:model_store"
STORE_HELP = "file:PATH or https://ACCOUNT.blob.core.windows.net/CONTAINER; default: CAPTURE_STORE"


def add_store(parser: ArgumentParser) -> None:
    """Add `--captured`."""
    parser.add_argument("--captured", metavar="URL", help=STORE_HELP)


def add_data(parser: ArgumentParser) -> None:
    """Add what selects data: `--captured`, `--name`, `--memory`, `--cache`."""
    add_store(parser)
    parser.add_argument(
        "--name", help="name of the model; default: MODEL_NAME, or the only one that has data"
    )
    parser.add_argument(
        "--memory",
        type=_size,
        default=MEMORY,
        metavar="SIZE",
        help=f"memory for DuckDB, which processes more data on disk; default: {MEMORY}",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="directory for downloaded objects; default: ~/.cache/scoring/captured",
    )


def add_models(parser: ArgumentParser, *, has_time: bool = True, has_config: bool = True) -> None:
    """Add what says how to judge: `--models`, `--config`, `--at`; the last needs a configuration."""
    parser.add_argument(
        "--models", metavar="URL", help="store of models; default: MODEL_STORE, or file:model_store"
    )
    if not has_config:
        return
    parser.add_argument(
        "--config", type=Path, default=Path("monitor.toml"), metavar="FILE", help="default: monitor.toml"
    )
    if not has_time:
        return
    parser.add_argument("--at", type=time_argument, metavar="TIME", help="end of the windows; default: now")


def opened_models(args: Namespace) -> Store:
    """Open the store of models."""
    return open_store(args.models or os.environ.get("MODEL_STORE") or DEFAULT_MODELS)


def store_url(args: Namespace) -> str:
    """Return the URL of the capture store."""
    return args.captured or os.environ.get("CAPTURE_STORE") or DEFAULT_STORE


def opened_lake(args: Namespace) -> Lake:
    """Open the capture store, after what the spool has was shipped into it.

    Raises:
        MonitorError, StoreError: the store or the spool cannot be used.
    """
    lake = Lake(store_url(args), args.cache)
    spool = given_spool()
    # In a cluster the sidecar of each pod ships. In a clone, this is what does.
    if spool and store_url(args).startswith("file:"):
        result = ship_once(spool, lake.store)
        log_pass(result)
        if result.failure is not None:
            raise MonitorError(result.failure)
    return lake


def given_spool() -> Path | None:
    """Return CAPTURE_DIR, or the spool of the clone if there is one."""
    if directory := os.environ.get("CAPTURE_DIR"):
        return Path(directory)
    return Path(DEFAULT_SPOOL) if Path(DEFAULT_SPOOL).is_dir() else None


def chosen_model(args: Namespace, lake: Lake) -> str:
    """Return the name of the model.

    Raises:
        NoRows: none was given, and the store has no data.
        MonitorError: none was given, and the store has data of several.
    """
    if name := args.name or os.environ.get("MODEL_NAME"):
        return str(name)
    names = known_models(lake)
    if not names:
        raise NoRows(
            f"the store {lake.store.url} has no data: set CAPTURE_DIR for the service, and ship its spool"
        )
    if len(names) > 1:
        raise MonitorError(f"the store {lake.store.url} has {', '.join(names)}: choose one with --name")
    return names[0]


def known_models(lake: Lake) -> list[str]:
    """Return the names of the models that store or spool have data of, sorted."""
    spool = given_spool()
    open_names = {path.name.removeprefix("name=") for path in spool.glob("name=*")} if spool else set()
    return sorted({*lake.models(), *open_names})


def time_argument(text: str) -> datetime:
    """Parse a time, such as 2026-01-02T03:04:05Z, or a date, which is its midnight in UTC."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            f"expected a time such as 2026-01-02T03:04:05Z, got {text!r}"
        ) from exc
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def date_argument(text: str) -> str:
    """Parse a date, YYYY-MM-DD."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).strftime("%Y-%m-%d")
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"expected a date such as 2026-01-02, got {text!r}") from exc


def seconds(text: str) -> float:
    """Parse a number of seconds above 0."""
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return float(text)


def _size(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,6}(MB|GB)", text):
        raise argparse.ArgumentTypeError(f"expected a size such as 2GB, got {text!r}")
    return text
