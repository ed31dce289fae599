"""The command line, `python -m model_loader`."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence

from model_loader.commands import card, check, copy, draft, gate, publish, pull, stages, versions
from model_loader.commands.arguments import refuse_credentials
from model_loader.commands.parser import Parser
from model_loader.commands.result import CommandResult, Run
from model_loader.errors import LoaderError
from model_loader.package.version_option import add_version_option
from model_loader.store.secrets import scrub
from model_loader.text_tables import printable

INTERRUPTED = 130
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


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; each command has the function to run as `run`."""
    parser = Parser(
        prog="python -m model_loader",
        description="Manage model packages in a store.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_version_option(parser)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        added = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="print JSON")
        return added

    for commands in (draft, check, publish, pull, copy, versions, stages, gate, card):
        commands.add_commands(add)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    # Azure's packages log errors that our one-line message reports already.
    logging.getLogger("azure").addHandler(logging.NullHandler())
    parser = build_parser()
    args = parser.parse_args(argv)
    refuse_credentials(parser, args)
    try:
        result: CommandResult = args.run(args)
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
    print("model_loader:", printable(scrub(" ".join(message.split()))), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
