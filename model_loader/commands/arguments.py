"""Arguments that several commands have, and what they select."""

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from model_loader.errors import PackageError
from model_loader.registry.lockfile import Lock, read_lock
from model_loader.registry.pull import find_locked
from model_loader.registry.versions import PublishedVersion, choose, find
from model_loader.store import Store, open_store, redact
from model_loader.store.secrets import has_secret
from model_loader.store.transfer import Progress, no_progress

# Arguments whose value is the URL of a store, which may have a SAS.
STORE_ARGUMENTS = ("store", "source", "target")
DEFAULT_STORE = "file:model_store"
STORE_URL = "file:PATH or https://ACCOUNT.blob.core.windows.net/CONTAINER"
VERSION = "latest, a version number or a stage"
OPTIONAL_VERSION: dict[str, Any] = {
    "metavar": "VERSION",
    "default": "latest",
    "help": f"{VERSION}; default: latest",
}
ONLY_MODEL = "name of the model; default: MODEL_NAME, or the only model in the store"


def add_store(parser: ArgumentParser) -> None:
    """Add `--store`."""
    parser.add_argument("--store", metavar="URL", help=STORE_URL)


def add_name(parser: ArgumentParser, text: str = ONLY_MODEL) -> None:
    """Add `--name`."""
    parser.add_argument("--name", help=text)


def add_reason(parser: ArgumentParser) -> None:
    """Add `--reason`."""
    parser.add_argument("--reason", metavar="TEXT", help="a note for the history")


def add_package(parser: ArgumentParser) -> None:
    """Add `DIR`, the directory of a package."""
    parser.add_argument(
        "directory",
        metavar="DIR",
        type=Path,
        nargs="?",
        default=Path("model"),
        help="directory of the package; default: model",
    )


def add_verify_key(parser: ArgumentParser) -> None:
    """Add `--verify-key`."""
    parser.add_argument(
        "--verify-key",
        type=Path,
        metavar="FILE",
        default=os.environ.get("MODEL_VERIFY_KEY") or None,
        help="public key, PEM, that the package must be signed with; default: MODEL_VERIFY_KEY",
    )


def add_selection(parser: ArgumentParser) -> Any:
    """Add `--version`, `--locked` and `--lock`, and return the group of the first two."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--version", **OPTIONAL_VERSION)
    group.add_argument(
        "--locked", action="store_true", help="the version and digest in the lock, and no other"
    )
    parser.add_argument(
        "--lock",
        type=Path,
        default=Path("model.lock"),
        metavar="FILE",
        help="the lock; default: model.lock",
    )
    return group


def refuse_credentials(parser: ArgumentParser, args: Namespace) -> None:
    """Exit with 2 if a credential was given where it would be printed, or recorded in the ledger."""
    values = {f"argument {name}": value for name, value in vars(args).items() if name not in STORE_ARGUMENTS}
    values |= {name: os.environ.get(name) for name in ("MODEL_NAME", "MODEL_PUBLISHER")}
    for name, value in values.items():
        if isinstance(value, str | Path) and has_secret(str(value)):
            parser.error(f"{name} has a credential: only the URL of a store may have one, as its query")


def selected_version(args: Namespace) -> tuple[Store, PublishedVersion]:
    """Return the version that `--locked` or `--version` selects, and its store."""
    if not args.locked:
        store, name = store_and_name(args)
        return store, find(store, name, args.version)
    lock = read_lock(args.lock)
    if args.name not in (None, lock.name):
        raise PackageError(f"{args.lock} is for the model {lock.name}, not {args.name}")
    store = open_store(_locked_store_url(args, lock))
    return store, find_locked(store, lock)


def opened_store(args: Namespace) -> Store:
    """Open the store that `--store` or the environment names."""
    return open_store(args.store or os.environ.get("MODEL_STORE") or DEFAULT_STORE)


def _locked_store_url(args: Namespace, lock: Lock) -> str:
    """Return the URL of the lock's store: MODEL_STORE if it is the same store, because it may have a SAS."""
    setting = os.environ.get("MODEL_STORE", "")
    return args.store or (setting if redact(setting) == lock.store else lock.store)


def given_name(args: Namespace) -> str | None:
    """Return the name of the model from `--name` or the environment."""
    return args.name or os.environ.get("MODEL_NAME")


def store_and_name(args: Namespace) -> tuple[Store, str]:
    """Open the store, and return the name of the model to use."""
    store = opened_store(args)
    return store, choose(store, given_name(args))


def progress() -> Progress:
    """Return what shows the progress of transfers on a terminal."""
    return _print_progress if sys.stderr.isatty() else no_progress


def _print_progress(path: str, done: int, total: int) -> None:
    end = "\n" if done >= total else ""
    sys.stderr.write(f"\r{path}  {done / 1e6:,.1f} of {total / 1e6:,.1f} MB{end}")
