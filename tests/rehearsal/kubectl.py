"""A `kubectl` for the rehearsal's cluster, with the commands that the pipeline's scripts use.

`kubectl kustomize` runs the real program. Environment variables: REHEARSAL_CLUSTER is the cluster's
directory, REHEARSAL_NETWORK its Docker network, REHEARSAL_KUBECTL the path of the real kubectl.
"""

import argparse
import json
import os
import re
import socketserver
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from socket import create_connection
from threading import Thread
from typing import Any

import yaml

from tests.rehearsal.cluster import Cluster
from tests.rehearsal.errors import RehearsalError

KINDS = {"deployment": "Deployment", "deployments": "Deployment", "deploy": "Deployment"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an unsupported one is an error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["kustomize"]:
        os.execv(os.environ["REHEARSAL_KUBECTL"], ["kubectl", *arguments])
    args = _parser().parse_args(arguments)
    cluster = Cluster(Path(os.environ["REHEARSAL_CLUSTER"]), os.environ["REHEARSAL_NETWORK"])
    try:
        code: int = args.run(cluster, args)
    except RehearsalError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kubectl", allow_abbrev=False)
    commands = parser.add_subparsers(required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("-n", "--namespace", default="")

    def command(name: str, run: Any, parents: Any = commands) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = parents.add_parser(name, parents=[shared], allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    get = command("get", run_get)
    get.add_argument("resource", nargs="+")
    get.add_argument("-l", "--selector", default="")
    get.add_argument("-o", "--output", required=True)
    get.add_argument("--ignore-not-found", action="store_true")
    command("apply", run_apply).add_argument("-f", "--filename", required=True)
    rollout = commands.add_parser("rollout").add_subparsers(required=True)
    for name, run in (("status", run_status), ("undo", run_undo)):
        each = command(name, run, rollout)
        each.add_argument("resource", nargs="+")
        each.add_argument("--timeout")
    delete = command("delete", run_delete)
    delete.add_argument("resource", nargs="+")
    delete.add_argument("--ignore-not-found", action="store_true")
    delete.add_argument("--cascade")
    command("port-forward", run_forward).add_argument("resource", nargs=2)
    return parser


def run_get(cluster: Cluster, args: argparse.Namespace) -> int:
    """Run `get pods` or `get deployment NAME`."""
    kind, *names = [part for resource in args.resource for part in resource.split("/")]
    if kind in ("pod", "pods") and not names:
        wanted = dict(part.split("=") for part in args.selector.split(",") if part)
        items = [
            pod for pod in cluster.pods(args.namespace) if wanted.items() <= pod["metadata"]["labels"].items()
        ]
        return _print({"kind": "List", "items": items}, args.output)
    if kind not in KINDS or len(names) != 1:
        raise RehearsalError(f"the rehearsal's kubectl does not support 'get {' '.join(args.resource)}'")
    found = cluster.get(args.namespace, KINDS[kind], names[0])
    if found is None:
        if args.ignore_not_found:
            return 0
        raise RehearsalError(f'Error from server (NotFound): deployments.apps "{names[0]}" not found')
    return _print(found, args.output)


def run_apply(cluster: Cluster, args: argparse.Namespace) -> int:
    """Run `apply -f FILE`; `-` is stdin."""
    text = sys.stdin.read() if args.filename == "-" else Path(args.filename).read_text()
    for document in yaml.safe_load_all(text):
        cluster.apply(document)
        print(f"{document['kind'].lower()}/{document['metadata']['name']} configured")
    return 0


def run_status(cluster: Cluster, args: argparse.Namespace) -> int:
    """Run `rollout status deployment/NAME`."""
    _, name = _kind_and_name(args)
    if cluster.rolled_out(args.namespace, name):
        print(f'deployment "{name}" successfully rolled out')
        return 0
    raise RehearsalError(f'deployment "{name}" exceeded its progress deadline')


def run_undo(cluster: Cluster, args: argparse.Namespace) -> int:
    """Run `rollout undo deployment/NAME`."""
    _, name = _kind_and_name(args)
    cluster.undo(args.namespace, name)
    print(f"deployment.apps/{name} rolled back")
    return 0


def run_delete(cluster: Cluster, args: argparse.Namespace) -> int:
    """Run `delete deployment NAME…`."""
    kind, *names = args.resource
    if kind not in KINDS:
        raise RehearsalError(f"the rehearsal's kubectl does not support 'delete {kind}'")
    for name in names:
        if not cluster.delete(args.namespace, KINDS[kind], name) and not args.ignore_not_found:
            raise RehearsalError(f'Error from server (NotFound): deployments.apps "{name}" not found')
    return 0


def run_forward(cluster: Cluster, args: argparse.Namespace) -> int:
    """Run `port-forward pod/NAME :PORT` until it is terminated."""
    name, port = args.resource[0].removeprefix("pod/"), int(args.resource[1].rpartition(":")[2])
    found = [pod for pod in cluster.pods(args.namespace) if pod["metadata"]["name"] == name]
    if not found:
        raise RehearsalError(f'Error from server (NotFound): pods "{name}" not found')
    target = (found[0]["status"]["podIP"], port)

    class Relay(socketserver.BaseRequestHandler):
        """Copies bytes in both directions."""

        def handle(self) -> None:
            """Relay one connection."""
            with closing(create_connection(target)) as pod:
                back = Thread(target=_copy, args=(pod, self.request), daemon=True)
                back.start()
                _copy(self.request, pod)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as server:
        server.daemon_threads = True
        print(f"Forwarding from 127.0.0.1:{server.server_address[1]} -> {port}", flush=True)
        server.serve_forever()
    return 0


def _copy(source: Any, sink: Any) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(1)
    except OSError:
        return  # the peer closed the connection


def _kind_and_name(args: argparse.Namespace) -> tuple[str, str]:
    kind, name = [part for resource in args.resource for part in resource.split("/")]
    if kind not in KINDS:
        raise RehearsalError(f"the rehearsal's kubectl does not support 'rollout' of a {kind}")
    return KINDS[kind], name


def _print(document: Any, output: str) -> int:
    if output == "json":
        print(json.dumps(document))
        return 0
    if not (match := re.fullmatch(r"jsonpath=\{((?:\.\w+(?:\[\d+\])?)+)\}", output)):
        raise RehearsalError(f"the rehearsal's kubectl does not support the output format '{output}'")
    for name, index in re.findall(r"\.(\w+)(?:\[(\d+)\])?", match[1]):
        document = document[name]
        if index:
            document = document[int(index)]
    print(document, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
