"""`publish`."""

from argparse import Namespace
from pathlib import Path

from model_loader.commands.arguments import (
    add_name,
    add_reason,
    add_store,
    given_name,
    opened_store,
    progress,
)
from model_loader.commands.check import DRAFT_NAME, add_draft, checked_data, describe
from model_loader.commands.result import AddCommand, CommandResult, identity
from model_loader.registry.check import check
from model_loader.registry.publish import publish_draft
from model_loader.registry.repair import describe_claim, repair
from model_loader.registry.versions import choose_known
from model_loader.store import Store


def add_commands(add: AddCommand) -> None:
    """Add `publish`."""
    parser = add("publish", _publish, "check the package in DIR and publish it as the next version")
    what = parser.add_mutually_exclusive_group(required=True)
    add_draft(what, nargs="?")
    what.add_argument(
        "--repair",
        action="store_true",
        help="publish nothing; complete the ledger, and remove files of publishers that died a day ago",
    )
    parser.add_argument("--parent", type=int, metavar="VERSION", help="the version that it was trained from")
    parser.add_argument("--sign-key", type=Path, metavar="FILE", help="private key, PEM, to sign with")
    add_store(parser)
    add_name(parser, DRAFT_NAME)
    add_reason(parser)


def _publish(args: Namespace) -> CommandResult:
    """Run `publish DIR`, or `publish --repair`."""
    store = opened_store(args)
    if args.repair:
        return _repair(store, choose_known(store, given_name(args)))
    checked = check(args.directory)
    published = publish_draft(
        checked,
        store,
        name=args.name,
        parent=args.parent,
        reason=args.reason,
        sign_key=args.sign_key,
        progress=progress(),
    )
    data = identity(published) | {"store": store.url} | checked_data(checked)
    return CommandResult(f"{describe(checked)}\npublished {published} in {store.url}", data)


def _repair(store: Store, name: str) -> CommandResult:
    done = repair(store, name)
    lines = [
        *(f"added {name}/{entry.version}, published by {entry.by}, to the ledger" for entry in done.entries),
        *(f"removed the files of {describe_claim(claim)}" for claim in done.swept),
        *(f"kept {describe_claim(claim)}: it may still be at work" for claim in done.kept),
    ]
    data = {
        "name": name,
        "entries": [entry.to_json() for entry in done.entries],
        "removed": [claim.version for claim in done.swept],
        "kept": [claim.version for claim in done.kept],
    }
    return CommandResult("\n".join(lines or [f"nothing to repair for {name} in {store.url}"]), data)
