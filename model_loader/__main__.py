"""The command line, `python -m model_loader`."""

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from model_loader import commands
from model_loader.errors import LoaderError
from model_loader.registry.ledger import STAGES

INTERRUPTED = 130
VERSION = "latest, a version number or a stage"
OPTIONAL_VERSION: dict[str, Any] = {
    "metavar": "VERSION",
    "default": "latest",
    "help": f"{VERSION}; default: latest",
}
EPILOG = """\
environment:
  MODEL_STORE              the store, unless --store is given; default: file:model_store
  MODEL_NAME               the model, unless --name is given; default: the only model in the store
  MODEL_PUBLISHER          the author of entries in the ledger; default: user@host
  MODEL_SIGN_KEY_PASSWORD  the password of --sign-key; default: the key is not encrypted
  MODEL_VERIFY_KEY         the public key, unless --verify-key is given; default: signatures are not verified
  AZURE_STORAGE_KEY        the account key, for Azurite only; default: Azurite's well-known key

exit codes: 0 done, 1 failed or rejected (the message gives the reason), 2 wrong usage
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that does not print a SAS in its error messages."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, without URL queries, and exit with 2."""
        super().error(re.sub(r"\?\S*", "", message))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; each command has the function to run as `run`."""
    parser = Parser(
        prog="python -m model_loader",
        description="Manage model packages in a store.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], commands.CommandResult], text: str
    ) -> argparse.ArgumentParser:
        added = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="print JSON")
        return added

    publish = command(
        "publish", commands.run_publish, "check the package in DIR and publish it as the next version"
    )
    publish.add_argument(
        "directory", metavar="DIR", type=Path, help="directory with model.onnx and its other files"
    )
    publish.add_argument("--parent", type=int, metavar="VERSION", help="the version that it was trained from")

    pull = command(
        "pull", commands.run_pull, "download and verify a version, and replace a directory with it"
    )
    pull.add_argument(
        "--output",
        type=Path,
        default=Path("model"),
        metavar="DIR",
        help="directory of the package; default: model",
    )

    verify = command("verify", commands.run_verify, "verify every file of a package against its manifest")
    verify.add_argument(
        "directory",
        metavar="DIR",
        type=Path,
        nargs="?",
        default=Path("model"),
        help="directory of the package; default: model",
    )

    optimize = command(
        "optimize",
        commands.run_optimize,
        "write the optimized model of a package next to it, in DIR.optimized",
    )
    optimize.add_argument(
        "directory",
        metavar="DIR",
        type=Path,
        nargs="?",
        default=Path("model"),
        help="directory of the package; default: model",
    )

    publish.add_argument("--sign-key", type=Path, metavar="FILE", help="private key, PEM, to sign with")
    for each in (pull, verify):
        each.add_argument(
            "--verify-key",
            type=Path,
            metavar="FILE",
            default=os.environ.get("MODEL_VERIFY_KEY") or None,
            help="public key, PEM, that the package must be signed with; default: MODEL_VERIFY_KEY",
        )

    listing = command("list", commands.run_list, "list the models and versions in the store")

    show_parser = command("show", commands.run_show, "print the manifest and digest of a version")
    show_parser.add_argument("version", nargs="?", **OPTIONAL_VERSION)

    promote = command("promote", commands.run_promote, "set a stage to a version")
    promote.add_argument("version", metavar="VERSION", help=VERSION)

    rollback = command("rollback", commands.run_rollback, "set a stage to its previous version")

    history = command(
        "history", commands.run_history, "list who published, promoted or rolled back what, when and why"
    )
    history.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="name of the model; default: MODEL_NAME, or the only model in the store",
    )

    gate = command(
        "gate", commands.run_gate, "compare metrics with fixed limits and with the model in a stage"
    )
    for each in (pull, gate):
        which = each.add_mutually_exclusive_group()
        which.add_argument("--version", **OPTIONAL_VERSION)
        which.add_argument(
            "--locked", action="store_true", help="the version and digest in the lock, and no other"
        )
        each.add_argument(
            "--lock",
            type=Path,
            default=Path("model.lock"),
            metavar="FILE",
            help="the lock; default: model.lock",
        )
    which.add_argument("--package", type=Path, metavar="DIR", help="a package that is not published yet")
    gate.add_argument(
        "--floors",
        type=Path,
        default=Path("gate.toml"),
        metavar="FILE",
        help="the limits; default: gate.toml",
    )
    gate.add_argument(
        "--stage", choices=STAGES, default="production", help="the stage to compare with; default: production"
    )

    for each in (publish, pull, listing, show_parser, promote, rollback, history, gate):
        each.add_argument(
            "--store", metavar="URL", help="file:PATH or https://ACCOUNT.blob.core.windows.net/CONTAINER"
        )
    publish.add_argument("--name", help="name of the model; default: the name in its manifest.json")
    listing.add_argument("--name", help="name of the model; default: MODEL_NAME, or all models in the store")
    for each in (pull, show_parser, promote, rollback, gate):
        each.add_argument(
            "--name", help="name of the model; default: MODEL_NAME, or the only model in the store"
        )
    for each in (promote, rollback):
        each.add_argument("--stage", choices=STAGES, required=True, help="the stage to change")
    for each in (publish, promote, rollback):
        each.add_argument("--reason", metavar="TEXT", help="a note for the history")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    # Azure's packages log errors that our one-line message reports already.
    logging.getLogger("azure").addHandler(logging.NullHandler())
    args = build_parser().parse_args(argv)
    try:
        result: commands.CommandResult = args.run(args)
    except LoaderError as exc:
        return _fail(str(exc))
    except OSError as exc:
        return _fail(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc))
    except KeyboardInterrupt:
        _fail("interrupted")
        return INTERRUPTED
    print(json.dumps(result.data, indent=2, ensure_ascii=False) if args.json else result.text)
    return _fail(result.failure) if result.failure else 0


def _fail(message: str) -> int:
    print("model_loader:", " ".join(message.split()), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
