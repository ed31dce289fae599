"""`publish`."""

from argparse import Namespace
from pathlib import Path

from model_loader.commands.arguments import add_name, add_reason, add_store, opened_store, progress
from model_loader.commands.check import DRAFT_NAME, add_draft, checked_data, describe
from model_loader.commands.result import AddCommand, CommandResult, identity
from model_loader.registry.check import check
from model_loader.registry.publish import publish_draft


def add_commands(add: AddCommand) -> None:
    """Add `publish`."""
    parser = add("publish", _publish, "check the package in DIR and publish it as the next version")
    add_draft(parser)
    parser.add_argument("--parent", type=int, metavar="VERSION", help="the version that it was trained from")
    parser.add_argument("--sign-key", type=Path, metavar="FILE", help="private key, PEM, to sign with")
    add_store(parser)
    add_name(parser, DRAFT_NAME)
    add_reason(parser)


def _publish(args: Namespace) -> CommandResult:
    """Run `publish DIR`."""
    store = opened_store(args)
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
