"""`list`, `show`."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from model_loader.commands.arguments import (
    OPTIONAL_VERSION,
    add_name,
    add_store,
    given_name,
    opened_store,
    store_and_name,
)
from model_loader.commands.result import AddCommand, CommandResult, identity
from model_loader.registry.ledger import read_ledger
from model_loader.registry.repair import incomplete
from model_loader.registry.versions import choose_known, find, get, known_names, version_numbers
from model_loader.store import Store
from model_loader.text_tables import number, short, table


def add_commands(add: AddCommand) -> None:
    """Add `list` and `show`."""
    parser = add("list", _list, "list the models and versions in the store")
    add_store(parser)
    add_name(parser, "name of the model; default: MODEL_NAME, or all models in the store")

    parser = add("show", _show, "print the manifest and digest of a version")
    parser.add_argument("version", nargs="?", **OPTIONAL_VERSION)
    add_store(parser)
    add_name(parser)


def _list(args: Namespace) -> CommandResult:
    """Run `list`."""
    store = opened_store(args)
    name = given_name(args)
    rows, advice = [], []
    for model in [choose_known(store, name)] if name else known_names(store):
        found = _rows(store, model)
        rows += found
        if any(not row["in_ledger"] for row in found):
            advice.append(
                f"to complete the ledger and remove what is incomplete: publish --repair --name {model}"
            )
    text = table(
        ("MODEL", "CREATED", "STATE", "DIGEST", "METRICS"),
        [
            (
                f"{row['name']}/{row['version']}",
                row["created"],
                ", ".join(_states(row)),
                short(row["digest"] or "-"),
                ", ".join(f"{metric} {number(value)}" for metric, value in row["metrics"].items()),
            )
            for row in rows
        ],
    )
    return CommandResult("\n".join([text, *advice]), rows)


def _rows(store: Store, name: str) -> list[dict[str, Any]]:
    """Return the published versions of a model, and those that a publisher has only claimed."""
    ledger = read_ledger(store, name)
    recorded = {entry.version for entry in ledger.entries if entry.action == "publish"}
    rows = []
    for published in (get(store, ledger, version) for version in version_numbers(store, name)):
        manifest = published.manifest
        withdrawal = ledger.withdrawals.get(manifest.version)
        row = identity(published) | {"created": manifest.created, "metrics": manifest.metrics}
        row |= {"stages": ledger.stages(manifest.version), "complete": True}
        row |= {"in_ledger": manifest.version in recorded}
        rows.append(row | {"withdrawn": withdrawal.reason if withdrawal else None})
    for claim in incomplete(store, name):
        row = {"name": name, "version": claim.version, "digest": None, "created": claim.time, "metrics": {}}
        rows.append(row | {"stages": [], "complete": False, "in_ledger": False, "withdrawn": None})
    return sorted(rows, key=lambda row: row["version"])


def _states(row: Mapping[str, Any]) -> list[str]:
    states = [*row["stages"], *(["withdrawn"] if row["withdrawn"] else [])]
    if not row["complete"]:
        return ["incomplete"]
    return states if row["in_ledger"] else [*states, "not in the ledger"]


def _show(args: Namespace) -> CommandResult:
    """Run `show`."""
    store, name = store_and_name(args)
    published = find(store, name, args.version)
    data = {"digest": published.digest, "manifest": published.manifest.document}
    return CommandResult(f"{published}\n{published.text.decode().rstrip()}", data)
