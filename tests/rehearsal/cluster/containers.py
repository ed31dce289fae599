"""What runs the pods: Docker containers, or nothing at all for tests of the cluster itself."""

import subprocess
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, Protocol

from tests.rehearsal.cluster.kinds import Document
from tests.rehearsal.cluster.kubelet import (
    Node,
    containers_of,
    port_of,
    probe_path,
    run_options,
    shared_volumes,
)
from tests.rehearsal.errors import RehearsalError

Change = tuple[str, dict[str, Any]]
MAX_JOBS = 16


class Engine(Protocol):
    """Starts and stops containers in the background, each with the native sidecars of its pod."""

    def start(self, name: str, spec: Document, *, broken: bool) -> None:
        """Start a container by a pod's resolved specification; a broken one exits at once."""

    def stop(self, name: str, spec: Document, grace_s: float) -> None:
        """Send SIGTERM to a container, then to its sidecars, and SIGKILL to all after `grace_s`."""

    def changes(self) -> Iterator[Change]:
        """Yield what changed since the last call: `address`, `ready`, `exited` or `gone` of a container.

        Raises:
            RehearsalError: a container could not be started or stopped.
        """

    def close(self) -> None:
        """Remove all containers immediately."""


class NoContainers:
    """An engine without containers: pods are ready at once."""

    def __init__(self) -> None:
        """Create an engine."""
        self._changes: deque[Change] = deque()

    def start(self, name: str, spec: Document, *, broken: bool) -> None:
        """Report a container as ready, or as exited if it is broken."""
        self._changes.append((name, {"address": "127.0.0.1", "ready": not broken, "exited": broken}))

    def stop(self, name: str, spec: Document, grace_s: float) -> None:
        """Report a container as gone."""
        self._changes.append((name, {"gone": True}))

    def changes(self) -> Iterator[Change]:
        """Yield what changed since the last call."""
        while self._changes:
            yield self._changes.popleft()

    def close(self) -> None:
        """Do nothing."""


class Docker:
    """Containers on a Docker network."""

    def __init__(self, node: Node) -> None:
        """Create an engine for a node whose network exists."""
        self._node = node
        self._changes: deque[Change] = deque()
        self._errors: deque[RehearsalError] = deque()
        self._stops: dict[str, Event] = {}
        self._started: dict[str, Event] = {}
        self._jobs = ThreadPoolExecutor(MAX_JOBS)

    def start(self, name: str, spec: Document, *, broken: bool) -> None:
        """Start a container in the background, and report when it is ready or has exited."""
        self._stops[name], self._started[name] = Event(), Event()
        self._jobs.submit(self._start, name, spec, broken)

    def stop(self, name: str, spec: Document, grace_s: float) -> None:
        """Stop and remove a container in the background, and report when it is gone."""
        self._stops[name].set()
        self._jobs.submit(self._stop, name, spec, grace_s)

    def changes(self) -> Iterator[Change]:
        """Yield what changed since the last call."""
        if self._errors:
            raise self._errors.popleft()
        while self._changes:
            yield self._changes.popleft()

    def close(self) -> None:
        """Remove all containers and volumes of the network immediately."""
        for event in self._stops.values():
            event.set()
        self._jobs.shutdown(wait=True, cancel_futures=True)
        if names := docker("ps", "--all", "--quiet", "--filter", f"network={self._node.network}").split():
            docker("rm", "--force", *names)
        if names := docker("volume", "ls", "--quiet", "--filter", f"label={self._node.network}").split():
            docker("volume", "rm", *names)

    def _start(self, name: str, spec: Document, broken: bool) -> None:
        try:
            for volume in shared_volumes(name, spec).values():
                # Like an emptyDir, anybody can write to it, also without being root.
                options = ("type=tmpfs", "device=tmpfs", "o=mode=1777")
                flags = (flag for option in options for flag in ("--opt", option))
                docker("volume", "create", "--label", self._node.network, *flags, volume)
            for command in run_options(self._node, name, spec, broken=broken):
                docker("run", *command)
            address = docker(
                "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name
            )
            self._changes.append((name, {"address": address}))
            running = ("inspect", "--format", "{{.State.Running}}", *containers_of(name, spec))
            while not self._stops[name].wait(0.2):
                if _answers(f"http://{address}:{port_of(spec)}{probe_path(spec)}"):
                    self._changes.append((name, {"ready": True}))
                    return
                if "false" in docker(*running).split():
                    self._changes.append((name, {"exited": True}))
                    return
        except RehearsalError as exc:
            self._errors.append(exc)
        finally:
            self._started[name].set()

    def _stop(self, name: str, spec: Document, grace_s: float) -> None:
        self._started[name].wait()
        deadline = time.monotonic() + grace_s
        names = containers_of(name, spec)[::-1]
        try:
            for each in names:
                docker("stop", "--time", str(max(0, round(deadline - time.monotonic()))), each)
            docker("rm", "--force", *names)
            if volumes := shared_volumes(name, spec):
                docker("volume", "rm", *volumes.values())
        except RehearsalError as exc:
            self._errors.append(exc)
        self._changes.append((name, {"gone": True}))


def docker(*args: str) -> str:
    """Run docker and return what it prints.

    Raises:
        RehearsalError: it fails.
    """
    done = subprocess.run(["docker", *args], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RehearsalError(f"docker {' '.join(args[:2])}: {done.stderr.strip()}")
    return done.stdout.strip()


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2):
            return True
    except OSError:
        return False
