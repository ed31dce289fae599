"""`kubectl port-forward` for the rehearsal's cluster."""

import argparse
import json
import socketserver
from contextlib import closing
from socket import create_connection
from threading import Thread
from typing import Any

from tests.rehearsal.cluster.kinds import KINDS
from tests.rehearsal.cluster.permissions import authorize
from tests.rehearsal.cluster.state import locked
from tests.rehearsal.errors import RehearsalError
from tests.rehearsal.kubectl_commands import Client

DIGEST = "example.com/model-digest-sha256"
NO_CONTAINERS = "127.0.0.1"


def run_forward(client: Client, args: argparse.Namespace) -> int:
    """Run `port-forward pod/NAME :PORT` until it is terminated.

    In a cluster without containers every request is answered with the digest of the pod's model.
    """
    name, port = args.resource[0].removeprefix("pod/"), int(args.resource[1].rpartition(":")[2])
    pod = client.get(KINDS["Pod"], name)
    with locked(client.directory) as state:
        authorize(state, client.identity, "create", KINDS["Pod"], client.namespace, name, "portforward")
    address = pod["status"].get("podIP", "")
    if not address:
        raise RehearsalError(
            "error: unable to forward port because pod is not running. Current status=Pending"
        )
    body = json.dumps({"digest": f"sha256:{pod['metadata'].get('annotations', {}).get(DIGEST, '')}"})
    answer = f"HTTP/1.0 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()

    class Relay(socketserver.BaseRequestHandler):
        """Copies bytes in both directions."""

        def handle(self) -> None:
            """Relay one connection."""
            if address == NO_CONTAINERS:
                self.request.recv(65536)
                self.request.sendall(answer)
                return
            with closing(create_connection((address, port))) as connection:
                back = Thread(target=_copy, args=(connection, self.request), daemon=True)
                back.start()
                _copy(self.request, connection)
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
