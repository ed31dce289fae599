"""What stands in for the tasks of the pipeline, each under the name that the pipeline calls it by.

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
    """The stand-ins, by the tasks' names."""
    return {
        "Docker@2": docker,
        "KubeloginInstaller@0": kubelogin,
        "KubernetesManifest@1": lambda agent, inputs: kubernetes_manifest(cluster, agent, inputs),
        "Notation@0": notation,
        "PublishTestResults@2": publish_test_results,
    }


def docker(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Logs in; the rehearsal's registry lets everybody in."""
    if inputs["command"] != "login":
        raise RehearsalError(f"Docker@2: {inputs['command']} is not known")


def kubelogin(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Installs nothing; a stand-in of that name is on PATH."""


def notation(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Signs nothing, but finds what is to be signed in the registry, by its digest."""
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
        raise StepFailed(f"there is no {inputs['artifactRefs']} to sign: {exc}") from exc


def publish_test_results(agent: Agent, inputs: Mapping[str, str]) -> None:
    """Reads the results that would be published."""
    path = agent.sources / inputs["testResultsFiles"]
    if not path.exists():
        raise StepFailed(f"there is no {inputs['testResultsFiles']}")
    ElementTree.parse(path)


def kubernetes_manifest(cluster: Cluster, agent: Agent, inputs: Mapping[str, str]) -> None:
    """Deploys, promotes and rejects as KubernetesManifest@1 does with a split by pods.

    Promoting applies the manifests and then deletes the copies; rejecting only deletes the copies.
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
            _stable(cluster, document)
    if action in ("promote", "reject"):
        for document in documents:
            if document["kind"] == "Deployment":
                for suffix in ("canary", "baseline"):
                    cluster.delete(namespace, "Deployment", f"{document['metadata']['name']}-{suffix}")


def _copies(cluster: Cluster, document: dict[str, Any], percentage: float) -> list[dict[str, Any]]:
    """A Deployment's canary and, of what runs, its baseline; other objects as they are."""
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


def _stable(cluster: Cluster, document: dict[str, Any]) -> None:
    metadata = document["metadata"]
    if document["kind"] == "Deployment" and not cluster.rolled_out(metadata["namespace"], metadata["name"]):
        raise StepFailed(f"deployment {metadata['name']} is not rolled out in time")


def engine_version() -> str:
    """The Docker engine's version.

    Raises:
        RehearsalError: none answers.
    """
    done = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RehearsalError(f"no Docker engine answers: {done.stderr.strip()}")
    return done.stdout.strip()
