"""The running pods, and what they carry."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from release.errors import ReleaseError
from release.subprocesses import run

NAME = "scorebox"
SELECTOR = f"app.kubernetes.io/name={NAME}"
MODEL = "scorebox.dev/model"
TRACK = "azure-pipelines/version"
ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Pod:
    """A pod that is not about to go.

    Attributes:
        track: `stable`, `canary` or `baseline`.
        asked: the image of its manifest.
        image: digest of the image that runs, `sha256:…`; empty while none does.
        model: `NAME/VERSION@sha256:…`, by label and annotation; empty where it has none.
        ready: whether it takes traffic.
    """

    name: str
    track: str
    asked: str
    image: str
    model: str
    ready: bool


def namespace(stage: str) -> str:
    """Where the pods of a stage are."""
    return f"{NAME}-{stage}"


def read_stage(stage: str) -> list[Pod]:
    """The pods of a stage, canaries among them.

    Raises:
        ReleaseError: the cluster cannot be asked, or has none.
    """
    place = namespace(stage)
    if not (pods := read_pods(place)):
        raise ReleaseError(f"no pod runs in {place}")
    return pods


def read_pods(place: str) -> list[Pod]:
    """The pods of a namespace.

    Raises:
        ReleaseError: the cluster cannot be asked.
    """
    text = run("kubectl", "get", "pods", "-l", SELECTOR, "-n", place, "-o", "json")
    try:
        items = json.loads(text)["items"]
        pods = [_pod(item) for item in items if _stays(item)]
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise ReleaseError(f"kubectl get pods answers what is no list of pods: {text[:80]!r}") from exc
    return sorted(pods, key=lambda pod: pod.name)


def verify_pods(pods: Sequence[Pod], image: str, model: str) -> None:
    """Makes sure that all pods are ready and carry an image and a model.

    Raises:
        ReleaseError: one is not, or does not; the message has its name.
    """
    digest = image.rpartition("@")[2]
    for pod in pods:
        if pod.image != digest:
            raise ReleaseError(f"pod {pod.name} carries {pod.image or 'no image yet'}, not {digest}")
        if pod.model != model:
            raise ReleaseError(f"pod {pod.name} says that it carries {pod.model or 'no model'}, not {model}")
        if not pod.ready:
            raise ReleaseError(f"pod {pod.name} is not ready")


def _stays(item: Any) -> bool:
    return "deletionTimestamp" not in item["metadata"] and item["status"].get("phase") not in ENDED


def _pod(item: Any) -> Pod:
    metadata, status = item["metadata"], item["status"]
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    # What the node runs, and not what was asked for.
    containers = [each for each in status.get("containerStatuses", []) if each["name"] == NAME]
    images = [each["imageID"].rpartition("@")[2] for each in containers]
    name, version = labels.get(f"{MODEL}-name"), labels.get(f"{MODEL}-version")
    digest = annotations.get(f"{MODEL}-digest-sha256")
    return Pod(
        metadata["name"],
        labels.get(TRACK, "stable"),
        item["spec"]["containers"][0]["image"],
        images[0] if images else "",
        f"{name}/{version}@sha256:{digest}" if name and version and digest else "",
        any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])),
    )
