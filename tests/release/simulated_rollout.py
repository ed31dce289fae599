"""A simulated cluster in which `scripts/rollout` rolls releases out."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from release.cluster import Cluster, documents
from release.errors import ReleaseError
from release.kubernetes import Pod
from release.rollout import promote, start, step
from tests.kubernetes_objects import LAST_APPLIED, KubernetesError, Object, merge_patch
from tests.release.simulated_cluster import SimulatedCluster

NAMESPACE = "demo-production"
COMMIT = "c" * 40
OLD, NEW = (f"registry.example.com/demo@sha256:{digit * 64}" for digit in "12")
ADDED = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo-two", "namespace": NAMESPACE}}


def manifests(image: str, version: int, *, replicas: int = 10, most: int = 30) -> list[Object]:
    """Return the objects of a release, as scripts/render prints them."""
    labels = {"app.kubernetes.io/name": "demo", "example.com/track": "stable"}
    pod_labels = labels | {"example.com/model-name": "tiny", "example.com/model-version": str(version)}
    template = {
        "metadata": {
            "labels": pod_labels,
            "annotations": {"example.com/model-digest-sha256": str(version) * 64},
        },
        "spec": {"containers": [{"name": "demo", "image": image}]},
    }
    specs: dict[tuple[str, str], Object] = {
        ("v1", "ServiceAccount"): {},
        ("v1", "Service"): {"spec": {"selector": {"app.kubernetes.io/name": "demo"}, "release": image}},
        ("apps/v1", "Deployment"): {
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        },
        ("autoscaling/v2", "HorizontalPodAutoscaler"): {
            "spec": {
                "minReplicas": replicas,
                "maxReplicas": most,
                "behavior": {"scaleDown": {"selectPolicy": "Max"}},
            }
        },
        ("azmonitoring.coreos.com/v1", "PodMonitor"): {"spec": {"interval": "15s"}},
    }
    metadata = {"name": "demo", "namespace": NAMESPACE}
    found: list[Object] = [
        {"apiVersion": version, "kind": kind, "metadata": dict(metadata)} | rest
        for (version, kind), rest in specs.items()
    ]
    found[2]["metadata"]["annotations"] = {"example.com/commit": COMMIT}
    return found


@dataclass
class Simulation:
    """A simulated cluster and what the commands do with it.

    Attributes:
        commands: the kubectl commands so far, without namespace and options.
        fault: called before each command with its number, and after it; may raise.
        reports: pod → digest that it reports; default: the one that it declares.
    """

    path: Path
    simulated: SimulatedCluster = field(default_factory=SimulatedCluster)
    commands: list[str] = field(default_factory=list)
    fault: Callable[[int, str], None] | None = None
    reports: dict[str, str] = field(default_factory=dict)
    cluster: Cluster = field(default_factory=lambda: Cluster(NAMESPACE))

    def run(self, *command: str, text: str | None = None, **_: Any) -> str:
        """Replace `release.subprocesses.run`."""
        program, *arguments = command
        assert program == "kubectl", command
        number = len(self.commands)
        self.commands.append(" ".join(arguments[: arguments.index("-n")]))
        if self.fault:
            self.fault(number, "before")
        try:
            output = self.simulated.kubectl(*arguments, text=text)
        except KubernetesError as exc:
            raise ReleaseError(f"kubectl {arguments[0]} failed: {exc}") from exc
        if self.fault:
            self.fault(number, "after")
        return output

    def write(self, items: list[Object]) -> Path:
        """Write manifests to a file and return its path."""
        (self.path / "manifests.yaml").write_text(documents(items))
        return self.path / "manifests.yaml"

    def release(self, items: list[Object], run: str = "azure-1") -> None:
        """Roll a release out completely."""
        start(self.cluster, self.write(items), run)
        step(self.cluster, run, 10, 0)
        step(self.cluster, run, 50, 0)
        promote(self.cluster, run, 0)

    def change(self, kind: str, patch: Object) -> None:
        """Change an object, as somebody else does."""
        self.simulated.objects.patch(kind, NAMESPACE, "demo", patch)

    def get(self, kind: str, name: str = "demo") -> Object | None:
        """Return an object."""
        return self.simulated.objects.get(kind, NAMESPACE, name)

    def spec(self, kind: str) -> Any:
        """Return the specification of an object."""
        found = self.get(kind)
        assert found is not None
        return found["spec"]

    def snapshot(self) -> dict[str, Object]:
        """Return all objects, without what a rejection need not restore: numbers of replicas, versions."""
        result = {}
        for key, item in self.simulated.objects.items.items():
            item = json.loads(json.dumps(item))
            item["metadata"].pop("resourceVersion")
            annotations = item["metadata"].get("annotations", {})
            annotations[LAST_APPLIED] = json.loads(annotations.get(LAST_APPLIED, "null"))
            result[key] = merge_patch(item, {"spec": {"replicas": None}} if "spec" in item else {})
            if annotations[LAST_APPLIED]:
                annotations[LAST_APPLIED].get("spec", {}).pop("replicas", None)
        return result


def connect(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands use a simulation, and ask its pods instead of forwarding ports."""

    @contextmanager
    def forward_port(namespace: str, pod: Pod) -> Iterator[str]:
        yield pod.name

    def reported(url: str) -> str:
        pods = {pod["metadata"]["name"]: pod for pod in simulation.simulated.state["pods"]}
        if url not in pods:
            raise ReleaseError(f"{url}/model does not answer")
        digest = pods[url]["metadata"]["annotations"]["example.com/model-digest-sha256"]
        return simulation.reports.get(url, f"sha256:{digest}")

    monkeypatch.setattr("release.cluster.run", simulation.run)
    monkeypatch.setattr("release.kubernetes.run", simulation.run)
    monkeypatch.setattr("release.pod_check.forward_port", forward_port)
    monkeypatch.setattr("release.pod_check.read_reported_digest", reported)
    monkeypatch.setattr("release.pod_check._smoke_test", lambda namespace, targets: None)
