"""The Service and the PodMonitor: nginx's and Prometheus's configuration for the pods that are there."""

import json
import os
import signal
from pathlib import Path

from tests.rehearsal.cluster.pods import ROUTED_NAMESPACE, endpoints
from tests.rehearsal.cluster.state import State

NO_POD = "upstream pods { server 127.0.0.1:9 down; }\nmap $upstream_addr $pod {}\n"


def targets(state: State) -> str:
    """Return Prometheus' targets: each container once, whatever the number of pods that it represents."""
    found = [
        {
            "targets": [f"{each['address']}:{each['port']}"],
            "labels": {
                "namespace": each["namespace"],
                "pod": name,
                "track": each["track"],
                "job": each["job"],  # the PodMonitors' jobLabel
            },
        }
        for name, each in state["containers"].items()
        if each["address"]
    ]
    return json.dumps(found)


def upstreams(state: State) -> str:
    """Return nginx's upstreams: each container weighted by its ready pods, so that all pods get the same."""
    weights = {
        (f"{state['containers'][name]['address']}:8080", name): count
        for name, count in endpoints(state, ROUTED_NAMESPACE).items()
    }
    if not weights:
        return NO_POD
    servers = "".join(
        f"  server {address} weight={count} max_fails=0;\n" for (address, _), count in weights.items()
    )
    names = "".join(f"  {address} {name};\n" for address, name in weights)
    return f"upstream pods {{\n{servers}}}\nmap $upstream_addr $pod {{\n{names}}}\n"


def write_targets(directory: Path, text: str) -> None:
    """Replace the file that Prometheus watches."""
    _replace(directory / "targets.json", text)


def write_upstreams(directory: Path, text: str) -> None:
    """Replace nginx's configuration of upstreams, and let nginx read it."""
    _replace(directory / "pods.conf", text)
    os.kill(int((directory / "nginx.pid").read_text()), signal.SIGHUP)


def _replace(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)
