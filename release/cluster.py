"""Objects in a namespace of the cluster, over kubectl."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from release.errors import ConflictError, ReleaseError
from release.subprocesses import run

Object = dict[str, Any]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
CONTROLLER_ANNOTATIONS = "deployment.kubernetes.io/"
DELETE_TIMEOUT_S = 300


@dataclass(frozen=True)
class Cluster:
    """The objects of one namespace."""

    namespace: str

    def find(self, resource: str, name: str) -> Object | None:
        """Return an object as it is in the cluster, or None.

        Args:
            resource: as returned by `resource`, for example `deployment`.

        Raises:
            ReleaseError: kubectl fails, or prints something else.
        """
        text = self._kubectl("get", resource, name, after=("--ignore-not-found", "-o", "json"))
        if not text.strip():
            return None
        try:
            found = json.loads(text)
        except ValueError as exc:
            raise ReleaseError(f"kubectl get {resource} {name} did not print JSON: {text[:80]!r}") from exc
        if not isinstance(found, dict):
            raise ReleaseError(f"kubectl get {resource} {name} did not print an object: {text[:80]!r}")
        return found

    def create(self, item: Object) -> None:
        """Create an object.

        Raises:
            ConflictError: it exists already.
            ReleaseError: kubectl fails.
        """
        self._write("create", item, "(AlreadyExists)")

    def replace(self, item: Object) -> None:
        """Replace an object, if its `resourceVersion` is still the current one.

        Raises:
            ConflictError: it is not, or the object was deleted.
            ReleaseError: kubectl fails.
        """
        self._write("replace", item, "(Conflict)", "(NotFound)")

    def apply(self, items: Sequence[Object]) -> None:
        """Apply objects, in their order.

        Raises:
            ReleaseError: kubectl fails; it may have applied a part of them.
        """
        if items:
            self._kubectl("apply", after=("-f", "-"), text=documents(items))

    def patch(self, resource: str, name: str, patch: Object) -> None:
        """Change fields of an object by a JSON merge patch, which `kubectl apply` does not record.

        Raises:
            ReleaseError: kubectl fails.
        """
        options = ("--type", "merge", "-p", json.dumps(patch))
        self._kubectl("patch", resource, name, after=options)

    def delete(self, resource: str, *names: str) -> None:
        """Delete objects. An object that does not exist is no error.

        Of Deployments, wait until their pods have ended.

        Raises:
            ReleaseError: kubectl fails, or pods do not end in time.
        """
        cascade = "foreground" if resource == "deployment" else "background"
        options = ("--ignore-not-found", f"--cascade={cascade}", f"--timeout={DELETE_TIMEOUT_S}s")
        self._kubectl("delete", resource, *names, after=options)

    def wait(self, deployment: str, timeout_s: int) -> None:
        """Wait until all pods of a Deployment are new and ready.

        Raises:
            ReleaseError: they are not in time, or kubectl fails.
        """
        self._kubectl("rollout", "status", f"deployment/{deployment}", after=(f"--timeout={timeout_s}s",))

    def _write(self, verb: str, item: Object, *conflicts: str) -> None:
        """Create or replace an object. kubectl prints the API server's reason for a refusal in brackets."""
        try:
            self._kubectl(verb, after=("-f", "-"), text=documents([item]))
        except ReleaseError as exc:
            if any(reason in str(exc) for reason in conflicts):
                raise ConflictError(str(exc)) from exc
            raise

    def _kubectl(self, *command: str, after: Sequence[str] = (), text: str | None = None) -> str:
        return run("kubectl", *command, "-n", self.namespace, *after, text=text)


def resource(item: Object) -> str:
    """Return the name by which kubectl knows the kind of an object.

    A custom kind gets its API group: a cluster with two operators of Prometheus has two kinds PodMonitor.
    """
    kind, group = item["kind"].lower(), item["apiVersion"].rpartition("/")[0]
    return f"{kind}.{group}" if "." in group and not group.endswith(".k8s.io") else kind


def applied_configuration(item: Object) -> Object:
    """Return the configuration that an object was last applied with.

    An object that was never applied returns itself, without the fields that the API server sets.

    Raises:
        ReleaseError: the annotation of kubectl is damaged.
    """
    metadata = item["metadata"]
    if text := metadata.get("annotations", {}).get(LAST_APPLIED):
        try:
            applied: Object = json.loads(text)
        except ValueError as exc:
            name = f"{item['kind']}/{metadata['name']}"
            raise ReleaseError(f"{name} has an invalid annotation {LAST_APPLIED}: {text[:80]!r}") from exc
        return applied
    kept = {name: metadata[name] for name in ("name", "namespace", "labels") if name in metadata}
    kept["annotations"] = {
        name: text
        for name, text in metadata.get("annotations", {}).items()
        if not name.startswith(CONTROLLER_ANNOTATIONS)
    }
    return {name: value for name, value in item.items() if name != "status"} | {"metadata": kept}


def documents(items: Sequence[Object]) -> str:
    """Return objects as YAML documents. JSON is YAML; the first line keeps kubectl from reading JSON only."""
    return "".join(f"---\n{json.dumps(item)}\n" for item in items)
