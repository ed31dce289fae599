"""`python -m monitor`: exit code 0 done, 1 failed or rejected, 2 wrong usage, 3 a source is unavailable."""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from model_loader.errors import LoaderError
from model_loader.package.version_option import add_version_option
from model_loader.store.secrets import scrub
from model_loader.text_tables import printable
from monitor.commands import data, judge, keep, lineage, replay, retrain, score, snapshot
from monitor.errors import MonitorError

INTERRUPTED = 130
EPILOG = """\
environment:
  CAPTURE_DIR        the spool; default: none, and for ship: captured/spool
  CAPTURE_STORE      the capture store, unless --captured is given; default: file:captured
  MODEL_STORE        the store of models, for their schemas and baselines; default: file:model_store
  MODEL_NAME         the model, unless --name is given; default: the only one that has data
  MODEL_PUBLISHER    the author of entries in the ledger; default: user@host
  PROMETHEUS_TOKEN   bearer token for Prometheus, if it needs one
  AZURE_STORAGE_KEY  the account key, for Azurite only; default: Azurite's well-known key

exit codes: 0 done, 1 failed or rejected (the message gives the reason), 2 wrong usage, 3 a source
is unavailable
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that does not print a credential in its error messages."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, without credentials, and exit with 2."""
        super().error(scrub(re.sub(r"\?\S*", "", message)))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; each command has the function to run as `run`."""
    parser = Parser(
        prog="python -m monitor",
        description="Ship, query and judge what the service has captured.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_version_option(parser)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: data.Run, text: str) -> argparse.ArgumentParser:
        added = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    for commands in (data, judge, keep, lineage, replay, retrain, score, snapshot):
        commands.add_commands(add)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    # Azure's packages log errors that our one-line message reports already.
    logging.getLogger("azure").addHandler(logging.NullHandler())
    args = build_parser().parse_args(argv)
    try:
        code: int = args.run(args)
    except (MonitorError, LoaderError) as exc:
        return _fail(str(exc))
    except BrokenPipeError:
        # The reader, such as `head`, has enough. The flush at the end would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as exc:
        return _fail(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc))
    except KeyboardInterrupt:
        _fail("interrupted")
        return INTERRUPTED
    return code


def _fail(message: str) -> int:
    print("monitor:", printable(scrub(" ".join(message.split()))), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
