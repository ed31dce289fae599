"""A replacement for AKS: Deployments whose pods are containers on a Docker network, behind nginx.

A few containers represent all replicas of a Deployment, and nginx weights each container by the number of
replicas that it represents, so that traffic is split as over the real pods. As in Kubernetes, a pod receives
traffic once it is ready, and is removed from the endpoints before it is stopped.
"""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rehearsal.errors import RehearsalError

TRACK = "azure-pipelines/version"
MAX_CONTAINERS = {"stable": 2, "canary": 1, "baseline": 1}
READY_TIMEOUT_S = 20.0
ROUTED_NAMESPACE = "scorebox-production"  # nginx replaces this namespace's Service
WEIGHT = 60  # divisible by every number of containers up to six

Document = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """The cluster's state in a directory, shared by all processes that use the directory.

    Attributes:
        network: the Docker network of the pods.
    """

    directory: Path
    network: str

    @contextmanager
    def _state(self) -> Iterator[Document]:
        """Lock and yield the state; changes are saved even if the block fails."""
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self.directory / "state.json"
            state = (
                json.loads(path.read_text()) if path.exists() else {"objects": {}, "pods": {}, "tracks": {}}
            )
            try:
                yield state
            finally:
                path.write_text(json.dumps(state))

    def get(self, namespace: str, kind: str, name: str) -> Document | None:
        """Return an object, or None."""
        with self._state() as state:
            found: Document | None = state["objects"].get(_key(namespace, kind, name))
        return found

    def pods(self, namespace: str) -> list[Document]:
        """Return all pods that are not terminating, in the format of `kubectl get pods`."""
        with self._state() as state:
            return [pod for pod in state["pods"].values() if pod["metadata"]["namespace"] == namespace]

    def tracks(self) -> dict[str, str]:
        """Return pod name → track, for every production pod that ever existed."""
        with self._state() as state:
            return dict(state["tracks"])

    def fail_next(self, pods: int) -> None:
        """Make the next production rollout of the Deployment `scorebox` fail after `pods` new pods."""
        (self.directory / "fault").write_text(str(pods))

    def apply(self, document: Document) -> None:
        """Apply one object; for a Deployment, return once it is rolled out or its rollout has failed."""
        metadata = document["metadata"]
        key = _key(metadata["namespace"], document["kind"], metadata["name"])
        with self._state() as state:
            before = state["objects"].get(key)
            history = before["history"] if before else []
            if document["kind"] == "Deployment" and before and document["spec"] != before["spec"]:
                history = [*history, before["spec"]]
            state["objects"][key] = document | {"history": history, "status": {}}
            if document["kind"] == "Deployment":
                self._roll_out(state, state["objects"][key])

    def undo(self, namespace: str, name: str) -> None:
        """Restore a Deployment's previous specification."""
        deployment = self.get(namespace, "Deployment", name)
        if deployment is None or not deployment["history"]:
            raise RehearsalError(f"no rollout history found for deployment {name}")
        *_, spec = deployment["history"]
        self.apply({key: deployment[key] for key in ("apiVersion", "kind", "metadata")} | {"spec": spec})

    def rolled_out(self, namespace: str, name: str) -> bool:
        """Return whether all pods of a Deployment are new and ready."""
        deployment = self.get(namespace, "Deployment", name)
        return deployment is not None and deployment["status"].get("done") is True

    def delete(self, namespace: str, kind: str, name: str) -> bool:
        """Delete an object and its pods; return False if it does not exist."""
        with self._state() as state:
            if state["objects"].pop(_key(namespace, kind, name), None) is None:
                return False
            owned = [pod for pod in state["pods"].values() if _owner(pod) == (namespace, name)]
            self._retire(state, owned)
        return True

    def stop(self) -> None:
        """Remove all pods immediately."""
        listing = ["docker", "ps", "--all", "--quiet", "--filter", f"network={self.network}"]
        if names := subprocess.check_output(listing, text=True).split():
            subprocess.run(["docker", "rm", "--force", *names], check=False, capture_output=True)

    def _roll_out(self, state: Document, deployment: Document) -> None:
        """Roll out a Deployment, as a RollingUpdate with maxSurge 1 and maxUnavailable 0 does."""
        metadata, spec = deployment["metadata"], deployment["spec"]
        owner = (metadata["namespace"], metadata["name"])
        template = spec["template"]
        revision = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
        track = template["metadata"]["labels"].get(TRACK, "stable")
        wanted = min(spec["replicas"], MAX_CONTAINERS[track])
        owned = [pod for pod in state["pods"].values() if _owner(pod) == owner]
        new = [pod for pod in owned if pod["revision"] == revision]
        old = [pod for pod in owned if pod["revision"] != revision]
        for pod in new:
            pod["represents"] = spec["replicas"] / max(1, wanted)
        self._retire(state, [pod for pod in old if not _ready(pod)])
        old = [pod for pod in old if _ready(pod)]
        while len(new) < wanted:
            pod = self._start(metadata, template, revision, broken=self._fault(owner, len(new)))
            pod["represents"] = spec["replicas"] / wanted
            state["pods"][pod["metadata"]["name"]] = pod
            if metadata["namespace"] == ROUTED_NAMESPACE:
                state["tracks"][pod["metadata"]["name"]] = track
            new.append(pod)
            if not self._wait(pod):
                return
            self._route(state)
            self._retire(state, [old.pop() for _ in old[:1]])
        self._retire(state, old + new[wanted:])
        self._route(state)
        deployment["status"] = {"done": True}

    def _fault(self, owner: tuple[str, str], started: int) -> bool:
        path = self.directory / "fault"
        if owner != (ROUTED_NAMESPACE, "scorebox") or not path.exists() or started < int(path.read_text()):
            return False
        path.unlink()
        return True

    def _start(self, metadata: Document, template: Document, revision: str, *, broken: bool) -> Document:
        """Start a container by the pod template, as far as Docker has an equivalent option."""
        (container,) = template["spec"]["containers"]
        name = f"{metadata['name']}-{revision}-{os.urandom(3).hex()}"
        env = {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
        if broken:
            env["MODEL_PATH"] = "/nonexistent"
        limits = container["resources"]["limits"]
        command = [
            *("docker", "run", "--detach", "--name", name, "--network", self.network),
            *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--cpus", limits["cpu"], "--memory", limits["memory"].removesuffix("i").lower()),
            *(option for key, value in env.items() for option in ("--env", f"{key}={value}")),
            container["image"],
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RehearsalError(f"container {name} did not start: {done.stderr.strip()}")
        address = subprocess.check_output(
            [
                "docker",
                "inspect",
                "--format",
                "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
                name,
            ],
            text=True,
        ).strip()
        meta = template["metadata"]
        return {
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "labels": meta["labels"] | {"pod-template-hash": revision},
                "annotations": meta.get("annotations", {}),
                "ownerReferences": [{"kind": "Deployment", "name": metadata["name"]}],
            },
            "spec": template["spec"],
            "status": {
                "podIP": address,
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [{"name": container["name"], "imageID": container["image"]}],
            },
            "revision": revision,
        }

    def _wait(self, pod: Document) -> bool:
        """Wait for a pod, set its Ready condition, and return whether it became ready."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                with _open(f"http://{pod['status']['podIP']}:8080/readyz"):
                    pod["status"]["conditions"][0]["status"] = "True"
                    return True
            except OSError:
                time.sleep(0.1)
            running = subprocess.check_output(
                ["docker", "inspect", "--format", "{{.State.Running}}", pod["metadata"]["name"]],
                text=True,
            )
            if running.strip() != "true":
                return False
        return False

    def _retire(self, state: Document, pods: list[Document]) -> None:
        """Remove pods from the endpoints, then stop them as the kubelet does, in the background."""
        for pod in pods:
            del state["pods"][pod["metadata"]["name"]]
        if not pods:
            return
        self._route(state)
        for pod in pods:
            (container,) = pod["spec"]["containers"]
            before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            name, grace = pod["metadata"]["name"], pod["spec"]["terminationGracePeriodSeconds"]
            subprocess.Popen(
                f"sleep {before}; docker stop --time {grace - before} {name}; docker rm --force {name}",
                shell=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _route(self, state: Document) -> None:
        """Write the current pods to the configuration of Prometheus and nginx."""
        targets = [
            {
                "targets": [f"{pod['status']['podIP']}:8080"],
                "labels": {
                    "namespace": pod["metadata"]["namespace"],
                    "pod": pod["metadata"]["name"],
                    "track": pod["metadata"]["labels"].get(TRACK, "stable"),
                },
            }
            for pod in state["pods"].values()
        ]
        partial = self.directory / "targets.partial"
        partial.write_text(json.dumps(targets))
        partial.rename(self.directory / "targets.json")
        ready = [
            pod
            for pod in state["pods"].values()
            if pod["metadata"]["namespace"] == ROUTED_NAMESPACE and _ready(pod)
        ]
        servers = "".join(
            f"  server {pod['status']['podIP']}:8080"
            f" weight={round(WEIGHT * pod['represents'])} max_fails=0;\n"
            for pod in ready
        )
        names = "".join(f"  {pod['status']['podIP']}:8080 {pod['metadata']['name']};\n" for pod in ready)
        servers = servers or "  server 127.0.0.1:9 down;\n"
        (self.directory / "pods.conf").write_text(
            f"upstream pods {{\n{servers}}}\nmap $upstream_addr $pod {{\n{names}}}\n"
        )
        os.kill(int((self.directory / "nginx.pid").read_text()), signal.SIGHUP)


def _open(url: str) -> Any:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2)


def _key(namespace: str, kind: str, name: str) -> str:
    return f"{namespace}/{kind}/{name}"


def _owner(pod: Document) -> tuple[str, str]:
    metadata = pod["metadata"]
    return metadata["namespace"], metadata["ownerReferences"][0]["name"]


def _ready(pod: Document) -> bool:
    return bool(pod["status"]["conditions"][0]["status"] == "True")
