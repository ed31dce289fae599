"""Replacements of the pipeline's tasks, by the name that the pipeline uses.

https://learn.microsoft.com/azure/devops/pipelines/tasks/reference
"""

import copy
import subprocess
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from tests.rehearsal.cluster import TRACK, Cluster
from tests.rehearsal.errors import RehearsalError, StepFailed
from tests.rehearsal.runner import Agent

Task = Callable[[Agent, Mapping[str, str]], None]


def tasks(cluster: Cluster) -> dict[str, Task]:
    """Return task name → replacement."""
    return {
        "Docker@2": docker,
        "KubeloginInstaller@0": kubelogin,
        "KubernetesManifest@1": lambda agent, inputs: kubernetes_manifest(cluster, agent, inputs),
        "Notation@0": notation,
        "PublishTestResults@2": publish_test_results,
    }


def docker(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Accept `login`; the rehearsal's registry needs no credentials."""
    if inputs["command"] != "login":
        raise RehearsalError(f"Docker@2: the command '{inputs['command']}' is not supported")


def kubelogin(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Install nothing; a replacement of that name is on PATH."""


def notation(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Check that the registry has the image to sign, by its digest, but sign nothing."""
    if inputs["command"] == "install":
        return
    repository, _, digest = inputs["artifactRefs"].partition("@")
    host, _, name = repository.partition("/")
    accept = "application/vnd.docker.distribution.manifest.v2+json"
    request = urllib.request.Request(
        f"http://{host}/v2/{name}/manifests/{digest}", headers={"accept": accept}
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5):
            return
    except urllib.error.URLError as exc:
        raise StepFailed(f"{inputs['artifactRefs']}: cannot be signed, not in the registry: {exc}") from exc


def publish_test_results(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Parse the results that would be published."""
    path = agent.sources / inputs["testResultsFiles"]
    if not path.exists():
        raise StepFailed(f"{inputs['testResultsFiles']} does not exist")
    ElementTree.parse(path)


def kubernetes_manifest(cluster: Cluster, agent: Agent, inputs: Mapping[str, str]) -> None:
    """Deploy, promote or reject, as KubernetesManifest@1 does with a traffic split by pods.

    `promote` applies the manifests and then deletes the copies; `reject` only deletes the copies.
    """
    text = (agent.sources / inputs["manifests"]).read_text()
    documents = [document for document in yaml.safe_load_all(text) if document]
    is_canary, action, namespace = inputs.get("strategy") == "canary", inputs["action"], inputs["namespace"]
    if action == "deploy" and is_canary:
        documents = [
            copied for each in documents for copied in _copies(cluster, each, float(inputs["percentage"]))
        ]
    if action != "reject":
        for document in documents:
            cluster.apply(document)
        for document in documents:
            _require_rollout(cluster, document)
    if action in ("promote", "reject"):
        for document in documents:
            if document["kind"] == "Deployment":
                for suffix in ("canary", "baseline"):
                    cluster.delete(namespace, "Deployment", f"{document['metadata']['name']}-{suffix}")


def _copies(cluster: Cluster, document: dict[str, Any], percentage: float) -> list[dict[str, Any]]:
    """Return a Deployment's canary, and a copy of the running one as control; other objects unchanged."""
    if document["kind"] != "Deployment":
        return [document]
    metadata, replicas = document["metadata"], int(document["spec"]["replicas"] * percentage / 100 + 0.5)
    copies = [_copy(document, "canary", replicas)]
    if stable := cluster.get(metadata["namespace"], "Deployment", metadata["name"]):
        kept = {key: stable[key] for key in ("apiVersion", "kind", "metadata", "spec")}
        copies.append(_copy(kept, "baseline", replicas))
    return copies


def _copy(document: dict[str, Any], track: str, replicas: int) -> dict[str, Any]:
    copied = copy.deepcopy(document)
    copied["metadata"]["name"] += f"-{track}"
    copied["spec"]["replicas"] = replicas
    for labels in (
        copied["spec"]["selector"]["matchLabels"],
        copied["spec"]["template"]["metadata"]["labels"],
    ):
        labels[TRACK] = track
    return copied


def _require_rollout(cluster: Cluster, document: dict[str, Any]) -> None:
    metadata = document["metadata"]
    if document["kind"] == "Deployment" and not cluster.rolled_out(metadata["namespace"], metadata["name"]):
        raise StepFailed(f"deployment {metadata['name']} was not rolled out in time")


def engine_version() -> str:
    """Return the Docker engine's version.

    Raises:
        RehearsalError: no Docker engine is running.
    """
    done = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RehearsalError(f"no Docker engine is running: {done.stderr.strip()}")
    return done.stdout.strip()
