"""`python -m model_loader`: exit code 0 is done, 1 refused with a sentence on stderr, 2 wrong usage."""

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
VERSION = "latest, a number or a stage"
OPTIONAL_VERSION: dict[str, Any] = {
    "metavar": "VERSION",
    "default": "latest",
    "help": f"{VERSION}; default: latest",
}
EPILOG = """\
environment:
  MODEL_STORE        the store, where --store is not given; default file:model_store
  MODEL_NAME         the model, where --name is not given; default the only one in the store
  MODEL_PUBLISHER    who the ledger says did it; default user@host
  MODEL_VERIFY_KEY   the public key, where --verify-key is not given; default none is asked for
  AZURE_STORAGE_KEY  the account key, for Azurite only; default the one every Azurite has

exit codes: 0 done, 1 refused (the message says why), 2 usage
"""


class Parser(argparse.ArgumentParser):
    """A parser that does not repeat a SAS that stands where it does not belong."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong with the arguments, and exits with 2."""
        super().error(re.sub(r"\?\S*", "", message))


def build_parser() -> argparse.ArgumentParser:
    """The command line, each command with the function that runs it as `run`."""
    parser = Parser(
        prog="python -m model_loader",
        description="Model packages and the store they live in.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], commands.Answer], text: str
    ) -> argparse.ArgumentParser:
        added = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="print JSON, for machines")
        return added

    publish = command(
        "publish", commands.run_publish, "check the package in DIR and add it as the next version"
    )
    publish.add_argument("directory", metavar="DIR", type=Path, help="has model.onnx and what belongs to it")
    publish.add_argument("--parent", type=int, metavar="VERSION", help="the version it was trained from")

    pull = command("pull", commands.run_pull, "download a version, verify it, and put it into a directory")
    pull.add_argument("--output", type=Path, default=Path("model"), metavar="DIR", help="default: model")

    verify = command("verify", commands.run_verify, "check every file of a package against its manifest")
    verify.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path("model"), help="default: model"
    )

    optimize = command(
        "optimize", commands.run_optimize, "write the form of a package that loads fastest, beside it"
    )
    optimize.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path("model"), help="default: model"
    )

    publish.add_argument("--sign-key", type=Path, metavar="FILE", help="private key, PEM, to sign with")
    for each in (pull, verify):
        each.add_argument(
            "--verify-key",
            type=Path,
            metavar="FILE",
            default=os.environ.get("MODEL_VERIFY_KEY") or None,
            help="public key, PEM, that it must be signed with",
        )

    listing = command("list", commands.run_list, "what is in the store")

    show = command("show", commands.run_show, "a version's manifest and digest")
    show.add_argument("version", nargs="?", **OPTIONAL_VERSION)

    promote = command("promote", commands.run_promote, "make a stage hold a version")
    promote.add_argument("version", metavar="VERSION", help=VERSION)

    rollback = command("rollback", commands.run_rollback, "make a stage hold what it held before")

    history = command(
        "history", commands.run_history, "who published, promoted and rolled back what, when and why"
    )
    history.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="of the model; default: MODEL_NAME, or the only one in the store",
    )

    gate = command("gate", commands.run_gate, "hold a version's metrics against floors and against a stage")
    for each in (pull, gate):
        which = each.add_mutually_exclusive_group()
        which.add_argument("--version", **OPTIONAL_VERSION)
        which.add_argument("--locked", action="store_true", help="exactly what the lock says, or nothing")
        each.add_argument(
            "--lock", type=Path, default=Path("model.lock"), metavar="FILE", help="default: model.lock"
        )
    which.add_argument("--package", type=Path, metavar="DIR", help="a package that is not published yet")
    gate.add_argument(
        "--floors", type=Path, default=Path("gate.toml"), metavar="FILE", help="default: gate.toml"
    )
    gate.add_argument("--stage", choices=STAGES, default="production", help="default: production")

    for each in (publish, pull, listing, show, promote, rollback, history, gate):
        each.add_argument(
            "--store", metavar="URL", help="file:PATH or https://ACCOUNT.blob.core.windows.net/CONTAINER"
        )
    publish.add_argument("--name", help="of the model; default: the draft's")
    for each in (pull, listing, show, promote, rollback, gate):
        each.add_argument("--name", help="of the model; default: MODEL_NAME, or the only one in the store")
    for each in (promote, rollback):
        each.add_argument("--stage", choices=STAGES, required=True)
    for each in (publish, promote, rollback):
        each.add_argument("--reason", metavar="TEXT", help="a note for the history")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command, and returns the exit code."""
    # What Azure's packages log, the message says in one line.
    logging.getLogger("azure").addHandler(logging.NullHandler())
    args = build_parser().parse_args(argv)
    try:
        answer: commands.Answer = args.run(args)
    except LoaderError as exc:
        return _refuse(str(exc))
    except OSError as exc:
        return _refuse(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc))
    except KeyboardInterrupt:
        _refuse("interrupted")
        return INTERRUPTED
    print(json.dumps(answer.data, indent=2, ensure_ascii=False) if args.json else answer.text)
    return _refuse(answer.refused) if answer.refused else 0


def _refuse(message: str) -> int:
    print("model_loader:", " ".join(message.split()), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
