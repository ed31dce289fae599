"""`promote`, `rollback`, `withdraw`, `history`."""

from argparse import Namespace

from model_loader.commands.arguments import (
    VERSION,
    add_name,
    add_reason,
    add_store,
    given_name,
    opened_store,
    store_and_name,
)
from model_loader.commands.result import AddCommand, CommandResult
from model_loader.registry.ledger import BUILD, STAGES, Entry, read_ledger
from model_loader.registry.stages import promote, rollback, withdraw
from model_loader.registry.versions import choose_known, usable_numbers
from model_loader.text_tables import short, table


def add_commands(add: AddCommand) -> None:
    """Add `promote`, `rollback`, `withdraw` and `history`."""
    promoting = add("promote", _promote, "set a stage to a version")
    promoting.add_argument("version", metavar="VERSION", help=VERSION)
    rolling = add("rollback", _rollback, "set a stage to its previous version")
    for parser, stages in ((promoting, (BUILD, *STAGES)), (rolling, STAGES)):
        parser.add_argument("--stage", choices=stages, required=True, help="the stage to change")
        add_store(parser)
        add_name(parser)
        add_reason(parser)

    parser = add("withdraw", _withdraw, "take a version out of latest; it can still be pulled by its number")
    parser.add_argument("version", metavar="VERSION", help=VERSION)
    add_store(parser)
    add_name(parser)
    parser.add_argument("--reason", metavar="TEXT", required=True, help="a note for the history, required")

    parser = add(
        "history",
        _history,
        "list who published, promoted, withdrew, rolled back or retrained what, when and why",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="name of the model; default: MODEL_NAME, or the only model in the store",
    )
    add_store(parser)


def _promote(args: Namespace) -> CommandResult:
    """Run `promote VERSION`."""
    store, name = store_and_name(args)
    return _stage_change(name, promote(store, name, args.version, args.stage, args.reason))


def _rollback(args: Namespace) -> CommandResult:
    """Run `rollback`."""
    store, name = store_and_name(args)
    return _stage_change(name, rollback(store, name, args.stage, args.reason))


def _withdraw(args: Namespace) -> CommandResult:
    """Run `withdraw VERSION`."""
    store, name = store_and_name(args)
    entry = withdraw(store, name, args.version, args.reason)
    *_, latest = ["none", *map(str, usable_numbers(store, read_ledger(store, name)))]
    text = f"{name}/{entry.version} is withdrawn: by {entry.by} at {entry.time}; latest is now {latest}"
    return CommandResult(text, {"name": name} | entry.to_json())


def _history(args: Namespace) -> CommandResult:
    """Run `history`."""
    store = opened_store(args)
    name = choose_known(store, given_name(args))
    entries = read_ledger(store, name).entries
    text = table(
        ("TIME", "ACTION", "MODEL", "STAGE", "DIGEST", "BY", "REASON"),
        [
            (e.time, e.action, f"{name}/{e.version}", e.stage or "", short(e.digest), e.by, e.reason or "")
            for e in entries
        ],
    )
    return CommandResult(text, [entry.to_json() for entry in entries])


def _stage_change(name: str, entry: Entry) -> CommandResult:
    text = f"{name}/{entry.version} is in {entry.stage}: {entry.action} by {entry.by} at {entry.time}"
    return CommandResult(text, {"name": name} | entry.to_json())
