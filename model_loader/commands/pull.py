"""`pull`, `verify`, `optimize`."""

from argparse import Namespace
from pathlib import Path

from model_loader.commands.arguments import (
    add_name,
    add_package,
    add_selection,
    add_store,
    add_verify_key,
    progress,
    selected_version,
)
from model_loader.commands.result import AddCommand, CommandResult, identity
from model_loader.optimize import optimize
from model_loader.package import verify_package
from model_loader.package.optimized import optimized_path
from model_loader.registry.ledger import read_ledger
from model_loader.registry.package_signing import verify_signature
from model_loader.registry.pull import pull
from model_loader.registry.stages import describe_withdrawal


def add_commands(add: AddCommand) -> None:
    """Add `pull`, `verify` and `optimize`."""
    parser = add("pull", _pull, "download and verify a version, and replace a directory with it")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("model"),
        metavar="DIR",
        help="directory of the package; default: model",
    )
    add_verify_key(parser)
    add_selection(parser)
    add_store(parser)
    add_name(parser)

    parser = add("verify", _verify, "verify every file of a package against its manifest")
    add_package(parser)
    add_verify_key(parser)

    text = "write the optimized model of a package next to it, in DIR.optimized"
    parser = add("optimize", _optimize, text)
    add_package(parser)
    parser.add_argument(
        "--large",
        action="store_true",
        help="also if it is so large that it starts more slowly: its workers share one copy of the weights",
    )


def _pull(args: Namespace) -> CommandResult:
    """Run `pull`."""
    store, published = selected_version(args)
    changed = pull(
        store,
        published,
        args.output,
        lock=None if args.locked else args.lock,
        verify_key=args.verify_key,
        progress=progress(),
    )
    text = f"pulled {published} into {args.output}" if changed else f"{args.output} is {published} already"
    data = identity(published) | {"store": store.url, "changed": changed}
    manifest = published.manifest
    if withdrawal := read_ledger(store, manifest.name).withdrawals.get(manifest.version):
        text = f"{text}\nwarning: {describe_withdrawal(withdrawal)}"
        data |= {"withdrawn": withdrawal.reason}
    return CommandResult(text, data)


def _verify(args: Namespace) -> CommandResult:
    """Run `verify DIR`."""
    package = verify_package(args.directory)
    if args.verify_key:
        verify_signature(package, args.verify_key)
    data = {
        "name": package.manifest.name,
        "version": package.manifest.version,
        "digest": package.digest,
        "signed": bool(args.verify_key),
    }
    signed = f", signed by {args.verify_key}" if args.verify_key else ""
    return CommandResult(f"{args.directory} is {package}, complete and unchanged{signed}", data)


def _optimize(args: Namespace) -> CommandResult:
    """Run `optimize DIR`."""
    package = verify_package(args.directory)
    changed = optimize(package, large=args.large)
    path = optimized_path(args.directory)
    written = f"optimized {package} into {path}"
    text = written if changed else f"{path} already has the optimized model of {package}"
    return CommandResult(text, {"digest": package.digest, "changed": changed})
