"""A `kubectl` for the rehearsal's cluster, with the commands that the pipeline's scripts use.

`kubectl kustomize` runs the real program. Environment variables: REHEARSAL_CLUSTER is the cluster's
directory, REHEARSAL_KUBECTL the path of the real kubectl, REHEARSAL_IDENTITY the identity that calls, by
which permissions are checked (see cluster/permissions.py).
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.rehearsal import kubectl_commands as commands
from tests.rehearsal.cluster.faults import take
from tests.rehearsal.cluster.state import locked
from tests.rehearsal.errors import ApiError, RehearsalError
from tests.rehearsal.port_forward import run_forward

LOST = "error: the connection to the server was lost before it responded"
REFUSED = "Unable to connect to the server: dial tcp: i/o timeout"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an unsupported one is an error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["kustomize"]:
        os.execv(os.environ["REHEARSAL_KUBECTL"], ["kubectl", *arguments])
    args = _parser().parse_args(arguments)
    client = commands.Client(
        Path(os.environ["REHEARSAL_CLUSTER"]), os.environ.get("REHEARSAL_IDENTITY", ""), args.namespace
    )
    fault = _fault(client.directory, " ".join(arguments))
    if fault == "fail":
        print(REFUSED, file=sys.stderr)
        return 1
    try:
        code: int = args.run(client, args)
    except ApiError as exc:
        print(_invalid(exc), file=sys.stderr)
        return 1
    except RehearsalError as exc:
        print(exc, file=sys.stderr)
        return 1
    if fault == "lose":
        print(LOST, file=sys.stderr)
        return 1
    return code


def _fault(directory: Path, command: str) -> str:
    """Let a fault that a scenario has injected happen, or return it if the command must fail."""
    with locked(directory) as state:
        error, fault = state["error"], take(state, command)
    if error:
        raise SystemExit(f"kubectl: {error}")
    if fault == "kill":
        os.kill(os.getppid(), signal.SIGKILL)
        raise SystemExit(1)
    while fault == "hang":
        time.sleep(60)
    return fault


def _invalid(exc: ApiError) -> str:
    return f"The {exc.message}" if exc.reason == "Invalid" else str(exc)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kubectl", allow_abbrev=False)
    subcommands = parser.add_subparsers(required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("-n", "--namespace", default="default")

    def command(name: str, run: Any, *options: str, parents: Any = subcommands) -> argparse.ArgumentParser:
        """Add a command; an option with a trailing `=` has a value, and `-f` is required."""
        added: argparse.ArgumentParser = parents.add_parser(name, parents=[shared], allow_abbrev=False)
        added.set_defaults(run=run)
        for option in options:
            if option == "-f":
                added.add_argument("-f", "--filename", required=True)
            elif option.endswith("="):
                names = option[:-1].split("|")
                added.add_argument(*names, default="")
            else:
                added.add_argument(option, action="store_true")
        return added

    command("get", commands.run_get, "-l|--selector=", "-o|--output=", "--ignore-not-found").add_argument(
        "resource", nargs="+"
    )
    command("create", commands.run_create, "-f")
    command("replace", commands.run_replace, "-f")
    command("apply", commands.run_apply, "-f")
    command("patch", commands.run_patch, "--type=", "-p|--patch=").add_argument("resource", nargs="+")
    command(
        "delete",
        commands.run_delete,
        *("--ignore-not-found", "--cascade=", "--timeout=", "--wait="),
    ).add_argument("resource", nargs="+")
    rollout = subcommands.add_parser("rollout").add_subparsers(required=True)
    command("status", commands.run_status, "--timeout=", parents=rollout).add_argument("resource", nargs="+")
    command("port-forward", run_forward).add_argument("resource", nargs=2)
    return parser


if __name__ == "__main__":
    sys.exit(main())
