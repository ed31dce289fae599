"""The loop that runs all controllers in the background, as the control plane and the kubelets do."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

from tests.rehearsal.cluster.containers import Engine
from tests.rehearsal.cluster.deployments import reconcile_deployments
from tests.rehearsal.cluster.pods import reconcile_pods
from tests.rehearsal.cluster.replica_sets import autoscale, collect_garbage, reconcile_replica_sets
from tests.rehearsal.cluster.routing import targets, upstreams, write_targets, write_upstreams
from tests.rehearsal.cluster.state import locked

INTERVAL_S = 0.1


class ControlPlane:
    """A context manager that runs the controllers of a cluster's directory.

    Each round locks the state once; starting and stopping containers takes longer and runs in the engine.
    """

    def __init__(self, directory: Path, engine: Engine, *, routed: bool) -> None:
        """Create a control plane.

        Args:
            routed: whether nginx and Prometheus read the directory.
        """
        self._directory = directory
        self._engine = engine
        self._routed = routed
        self._written: dict[Callable[[Path, str], None], str] = {}
        self._stop = Event()
        self._thread = Thread(target=self._run)

    def __enter__(self) -> "ControlPlane":
        """Start the loop."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the loop, and remove all containers."""
        self._stop.set()
        self._thread.join()
        self._engine.close()

    def _run(self) -> None:
        try:
            while not self._stop.wait(INTERVAL_S):
                self._round()
        finally:
            if not self._stop.is_set():  # an exception: Python prints it, and kubectl must not wait for us
                with locked(self._directory) as state:
                    state["error"] = "the control plane has failed"

    def _round(self) -> None:
        now = time.monotonic()
        with locked(self._directory) as state:
            autoscale(state)
            reconcile_deployments(state, now)
            reconcile_replica_sets(state, now)
            collect_garbage(state)
            reconcile_pods(state, self._engine, now)
            texts = {write_targets: targets(state), write_upstreams: upstreams(state)}
        for write, text in texts.items():
            if self._routed and self._written.get(write) != text:
                self._written[write] = text
                write(self._directory, text)
