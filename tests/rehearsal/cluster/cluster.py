"""What the scenarios see of the cluster, and what they can do to it."""

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from scripts.names import named_text
from tests.rehearsal.cluster.containers import Docker, NoContainers
from tests.rehearsal.cluster.control_plane import ControlPlane
from tests.rehearsal.cluster.deployments import is_ready
from tests.rehearsal.cluster.faults import Fault, inject
from tests.rehearsal.cluster.kinds import Document
from tests.rehearsal.cluster.kubelet import Node
from tests.rehearsal.cluster.objects import LAST_APPLIED, create, listed
from tests.rehearsal.cluster.pods import ROUTED_NAMESPACE, TRACK
from tests.rehearsal.cluster.state import CAPACITY, DEADLINE_S, State, locked
from tests.rehearsal.errors import RehearsalError

FAILURE_S = 30.0


@dataclass(frozen=True)
class Cluster:
    """What a scenario sees of the cluster, and what it can do to it.

    Attributes:
        directory: has the cluster's state.
        network: the Docker network of the pods; empty to run no containers.
        env: environment variables that every container gets.
    """

    directory: Path
    network: str = ""
    env: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self, roles: Path) -> Iterator["Cluster"]:
        """Run the cluster's controllers; at the end, remove all containers.

        Args:
            roles: manifest with the Roles of the pipeline's identities, as an administrator applies it.
        """
        with locked(self.directory) as state:
            state["roles"] = read_roles(roles)
        node = Node(self.network, self.directory, self.env)
        engine = Docker(node) if self.network else NoContainers()
        with ControlPlane(self.directory, engine, routed=bool(self.network)):
            yield self

    def get(self, namespace: str, kind: str, name: str) -> Document | None:
        """Return an object, or None."""
        with locked(self.directory) as state:
            found: Document | None = state["objects"].get(f"{namespace}/{kind}/{name}")
        return found

    def objects(self, namespace: str) -> dict[str, Document]:
        """Return `KIND/NAME` → object, of all objects that people or the pipeline write, without status.

        What changes with every write is left out, so that two results can be compared.
        """
        with locked(self.directory) as state:
            found = copy.deepcopy(state["objects"])
        result = {}
        for each in found.values():
            metadata = each["metadata"]
            if metadata["namespace"] == namespace and "ownerReferences" not in metadata:
                for field in ("resourceVersion", "generation", "uid", "creationTimestamp"):
                    del metadata[field]
                del each["status"]
                metadata.get("annotations", {}).pop(LAST_APPLIED, None)
                result[f"{each['kind']}/{metadata['name']}"] = each
        return result

    def pods(self, namespace: str) -> list[Document]:
        """Return all pods that are not terminating."""
        with locked(self.directory) as state:
            pods = listed(state, "Pod", namespace)
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def tracks(self) -> dict[str, str]:
        """Return container → track, for every production container that ever existed."""
        with locked(self.directory) as state:
            return dict(state["tracks"])

    def create_config_map(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """Create a ConfigMap, as an administrator does."""
        with locked(self.directory) as state:
            metadata = {"name": name, "namespace": namespace}
            create(state, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)})

    def set_load(self, pods: float | None, namespace: str = ROUTED_NAMESPACE) -> None:
        """Let the autoscaler see a load that needs a number of pods, from now on; None: a load that fits."""
        with locked(self.directory) as state:
            state["load"] = {f"{namespace}/demo": pods}

    def set_capacity(self, pods: int) -> None:
        """Set the number of pods that the nodes have room for; more are Pending."""
        with locked(self.directory) as state:
            state["capacity"] = pods

    def delay_readiness(self, deployment: str, seconds: float, namespace: str = ROUTED_NAMESPACE) -> None:
        """Let a Deployment's pods that are created from now on become ready later than their container."""
        with locked(self.directory) as state:
            state["slow"][f"{namespace}/{deployment}"] = seconds

    def fail_next(self, pods: int, deployment: str = "demo", namespace: str = ROUTED_NAMESPACE) -> None:
        """Make the next rollout of a Deployment's template fail after `pods` new pods, and give up soon."""
        with locked(self.directory) as state:
            state["broken"][f"{namespace}/{deployment}"] = pods
            state["deadline_s"] = FAILURE_S

    def inject(self, fault: Fault) -> None:
        """Let calls of kubectl fail, hang or kill their caller."""
        with locked(self.directory) as state:
            inject(state, fault)

    def clear_faults(self) -> None:
        """Remove all faults, delays and limits that were set, but not the load."""
        with locked(self.directory) as state:
            state |= {"faults": [], "slow": {}, "broken": {}}
            state |= {"capacity": CAPACITY, "deadline_s": DEADLINE_S}

    def wait_for_pods(self, track: str, count: int, timeout_s: float) -> None:
        """Wait until production has exactly `count` ready pods of a track, and none that terminates.

        Raises:
            RehearsalError: it has not within `timeout_s`.
        """

        def has_pods(state: State) -> bool:
            pods = listed(state, "Pod", ROUTED_NAMESPACE, {TRACK: track})
            return len(pods) == count == sum(map(is_ready, pods))

        self.wait_until(has_pods, timeout_s, f"{count} {track} pods")

    def wait_until(self, condition: Callable[[State], bool], timeout_s: float, what: str) -> None:
        """Wait until a condition of the state is true.

        Raises:
            RehearsalError: it is not within `timeout_s`, or the control plane has failed.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            with locked(self.directory) as state:
                if condition(state):
                    return
                if state["error"] or time.monotonic() > deadline:
                    raise RehearsalError(f"{what}: not within {timeout_s:.0f} s. {state['error']}")
            time.sleep(0.1)


def read_roles(path: Path) -> dict[str, dict[str, list[Document]]]:
    """Return namespace → name of a Role → its rules."""
    roles: dict[str, dict[str, list[Document]]] = {}
    for document in yaml.safe_load_all(named_text(path)):
        if document and document["kind"] == "Role":
            metadata = document["metadata"]
            roles.setdefault(metadata["namespace"], {})[metadata["name"]] = document["rules"]
    return roles
