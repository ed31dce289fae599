"""`publish`."""

from argparse import Namespace
from pathlib import Path

from model_loader.commands.arguments import add_name, add_reason, add_store, opened_store, progress
from model_loader.commands.result import AddCommand, CommandResult, identity
from model_loader.registry.publish import publish


def add_commands(add: AddCommand) -> None:
    """Add `publish`."""
    parser = add("publish", _publish, "check the package in DIR and publish it as the next version")
    parser.add_argument(
        "directory", metavar="DIR", type=Path, help="directory with model.onnx and its other files"
    )
    parser.add_argument("--parent", type=int, metavar="VERSION", help="the version that it was trained from")
    parser.add_argument("--sign-key", type=Path, metavar="FILE", help="private key, PEM, to sign with")
    add_store(parser)
    add_name(parser, "name of the model; default: the name in its manifest.json")
    add_reason(parser)


def _publish(args: Namespace) -> CommandResult:
    """Run `publish DIR`."""
    store = opened_store(args)
    published = publish(
        args.directory,
        store,
        name=args.name,
        parent=args.parent,
        reason=args.reason,
        sign_key=args.sign_key,
        progress=progress(),
    )
    return CommandResult(f"published {published} in {store.url}", identity(published) | {"store": store.url})
