"""A simulated cluster: the tests run without Kubernetes.

Pods follow their Deployment: applying it replaces the first pod, waiting for its rollout all others.
"""

import json
from typing import Any

from tests.kubernetes_objects import KubernetesError, Object, Objects

Pod = dict[str, Any]


class SimulatedCluster:
    """A cluster whose state can be saved as JSON.

    Attributes:
        state: `objects` by key, `pods`, and `fail`, the name of the failure to simulate: `get`, `not JSON`,
            `apply`, `rollout` or `incomplete rollout`; or a part of the name of an image whose pods never
            become ready.
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        """Begin with a saved state, or without objects and pods."""
        self.state = state or {"objects": {}, "pods": [], "fail": ""}
        self.objects = Objects(self.state["objects"])

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run one command and return its output.

        Raises:
            KubernetesError: it fails, or is not one of those that the project uses.
        """
        position = arguments.index("-n")
        namespace = arguments[position + 1]
        match [*arguments[:position], *arguments[position + 2 :]]:
            case ["get", "pods", "-l", "app.kubernetes.io/name=demo", "-o", "json"]:
                return self._pods()
            case ["get", kind, name, "--ignore-not-found", "-o", "json"]:
                found = self.objects.get(kind.partition(".")[0], namespace, name)
                return json.dumps(found) if found else ""
            case ["create" | "replace" | "apply" as verb, "-f", "-"]:
                for document in (text or "").split("---\n")[1:]:
                    self._write(verb, namespace, json.loads(document))
            case ["patch", kind, name, "--type", "merge", "-p", patch]:
                self.objects.patch(kind, namespace, name, json.loads(patch))
            case ["delete", kind, *rest] if rest[-3] == "--ignore-not-found":
                assert rest[-2] == f"--cascade={'foreground' if kind == 'deployment' else 'background'}"
                for name in rest[:-3]:
                    self._delete(kind.partition(".")[0], namespace, name)
            case ["rollout", "status", target, option] if option.startswith("--timeout="):
                self._finish(namespace, target.removeprefix("deployment/"))
            case _:
                raise KubernetesError(f"error: unknown command {arguments}")
        return ""

    def images(self, track: str = "stable") -> list[str]:
        """Return the image of each pod of a track."""
        return [
            pod["spec"]["containers"][0]["image"]
            for pod in self.state["pods"]
            if pod["metadata"]["labels"].get("example.com/track", "stable") == track
        ]

    def _pods(self) -> str:
        if self.state["fail"] == "get":
            raise KubernetesError("error: Unable to connect to the server: dial tcp: i/o timeout")
        return "<html>" if self.state["fail"] == "not JSON" else json.dumps({"items": self.state["pods"]})

    def _write(self, verb: str, namespace: str, item: Object) -> None:
        assert item["metadata"]["namespace"] == namespace
        if verb == "apply" and self.state["fail"] == "apply":
            raise KubernetesError(
                'error: no matches for kind "PodMonitor" in version "monitoring.coreos.com/v1"'
            )
        getattr(self.objects, verb)(item)
        if item["kind"] == "Deployment":
            self._replace_pods(namespace, item["metadata"]["name"], complete=False)

    def _delete(self, kind: str, namespace: str, name: str) -> None:
        self.objects.delete(kind, namespace, name)
        if kind == "deployment":
            self.state["pods"] = [pod for pod in self.state["pods"] if pod["metadata"]["deployment"] != name]

    def _finish(self, namespace: str, name: str) -> None:
        if self.state["fail"] in ("rollout", "incomplete rollout"):
            if self.state["fail"] == "rollout":
                raise KubernetesError("error: timed out waiting for the condition")
            return
        if self.objects.get("deployment", namespace, name) is None:
            raise KubernetesError(f'Error from server (NotFound): deployments.apps "{name}" not found')
        self._replace_pods(namespace, name, complete=True)
        if not all(self._is_ready(pod) for pod in self._owned(name)):
            raise KubernetesError("error: timed out waiting for the condition")

    def _replace_pods(self, namespace: str, name: str, *, complete: bool) -> None:
        """Replace one pod, or all, by pods of the Deployment's template. A pod that fails stops that."""
        deployment = self.objects.get("deployment", namespace, name)
        assert deployment is not None
        before = {pod["metadata"]["name"]: pod for pod in self._owned(name)}
        names = [f"{name}-{number}" for number in range(deployment["spec"]["replicas"])]
        pods = [self._pod(each, name, deployment["spec"]["template"]) for each in names]
        changed = [pod for pod in pods if pod["spec"] != before.get(pod["metadata"]["name"], {}).get("spec")]
        stops = not complete or not all(self._is_ready(pod) for pod in pods)
        kept = [before.get(pod["metadata"]["name"], pod) for pod in pods if pod not in changed[:1]]
        others = [pod for pod in self.state["pods"] if pod["metadata"]["deployment"] != name]
        self.state["pods"] = others + ([*changed[:1], *kept] if stops else pods)

    def _owned(self, name: str) -> list[Pod]:
        return [pod for pod in self.state["pods"] if pod["metadata"]["deployment"] == name]

    def _is_ready(self, pod: Pod) -> bool:
        return bool(pod["status"]["conditions"][0]["status"] == "True")

    def _pod(self, name: str, deployment: str, template: dict[str, Any]) -> Pod:
        """Return a pod as the API server does, with the fields that the project reads."""
        image = template["spec"]["containers"][0]["image"]
        ready = not self.state["fail"] or self.state["fail"] not in image
        return {
            "metadata": {"name": name, "deployment": deployment, **template["metadata"]},
            "spec": template["spec"],
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": str(ready)}],
                "containerStatuses": [{"name": "demo", "imageID": f"docker-pullable://{image}"}],
            },
        }
