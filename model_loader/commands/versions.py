"""`list`, `show`."""

from argparse import Namespace

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
from model_loader.registry.versions import choose, find, get, model_names, version_numbers
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
    rows = []
    for model in [choose(store, name)] if name else model_names(store):
        ledger = read_ledger(store, model)
        for published in (get(store, ledger, version) for version in version_numbers(store, model)):
            manifest = published.manifest
            row = identity(published) | {"created": manifest.created, "metrics": manifest.metrics}
            rows.append(row | {"stages": ledger.stages(manifest.version)})
    text = table(
        ("MODEL", "CREATED", "STAGES", "DIGEST", "METRICS"),
        [
            (
                f"{row['name']}/{row['version']}",
                row["created"],
                ", ".join(row["stages"]),
                short(row["digest"]),
                ", ".join(f"{metric} {number(value)}" for metric, value in row["metrics"].items()),
            )
            for row in rows
        ],
    )
    return CommandResult(text, rows)


def _show(args: Namespace) -> CommandResult:
    """Run `show`."""
    store, name = store_and_name(args)
    published = find(store, name, args.version)
    data = {"digest": published.digest, "manifest": published.manifest.document}
    return CommandResult(f"{published}\n{published.text.decode().rstrip()}", data)
