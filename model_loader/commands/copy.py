"""`copy`."""

from argparse import Namespace

from model_loader.commands.arguments import STORE_URL, VERSION, add_name, given_name, progress
from model_loader.commands.result import AddCommand, CommandResult, identity
from model_loader.registry.copy import ALL, copy, select
from model_loader.registry.versions import choose
from model_loader.store import open_store


def add_commands(add: AddCommand) -> None:
    """Add `copy`."""
    parser = add("copy", _copy, "copy versions from one store to another, with their numbers and signatures")
    parser.add_argument(
        "--from", dest="source", required=True, metavar="URL", help=f"the store to read: {STORE_URL}"
    )
    parser.add_argument(
        "--to", dest="target", required=True, metavar="URL", help=f"the store to write: {STORE_URL}"
    )
    parser.add_argument(
        "--version", metavar="VERSION", default="latest", help=f"{ALL}, {VERSION}; default: latest"
    )
    add_name(parser, "name of the model; default: MODEL_NAME, or the only model in the store that is read")


def _copy(args: Namespace) -> CommandResult:
    """Run `copy`."""
    source, target = open_store(args.source), open_store(args.target)
    name = choose(source, given_name(args))
    lines, data = [], []
    for published in select(source, name, args.version):
        changed = copy(source, target, published, progress())
        done = f"copied {published} to {target.url}" if changed else f"{target.url} has {published} already"
        lines.append(done)
        data.append(identity(published) | {"store": target.url, "changed": changed})
    return CommandResult("\n".join(lines), data)
