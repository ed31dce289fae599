"""A release's manifests, and the copies of its Deployment that a canary needs."""

import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from release.cluster import Object
from release.errors import ReleaseError
from release.kubernetes import DEPLOYMENTS, LABEL_PREFIX, MODEL, NAME, STABLE, TRACK
from release.release_log import FIELDS

DEPLOYMENT, AUTOSCALER = "Deployment", "HorizontalPodAutoscaler"
COMMIT = f"{LABEL_PREFIX}commit"
# The objects of a release, `KIND/NAME`, separated by commas: the next release sees which ones it drops.
OBJECTS = f"{LABEL_PREFIX}objects"


def read_manifests(path: Path, namespace: str) -> list[Object]:
    """Read the manifests of a release from a file.

    Raises:
        ReleaseError: the file cannot be read; otherwise as for `parse_manifests`.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise ReleaseError(f"{path} cannot be read: {exc}") from exc
    return parse_manifests(text, str(path), namespace)


def parse_manifests(text: str, source: str, namespace: str) -> list[Object]:
    """Parse the manifests of a release, as `scripts/render` prints them.

    Args:
        source: where they are from, for messages.

    Raises:
        ReleaseError: they are not YAML; or objects are invalid, in another namespace, or have no Deployment
            that can be rolled out.
    """
    try:
        found = [item for item in yaml.safe_load_all(text) if item is not None]
    except yaml.YAMLError as exc:
        raise ReleaseError(f"{source} is not YAML: {exc}") from exc
    for number, item in enumerate(found, start=1):
        _check_object(item, f"{source}: object {number}", namespace)
    names = [key(item) for item in found]
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise ReleaseError(f"{source} has {', '.join(doubles)} more than once")
    _check_deployment(stable_deployment(found), source)
    return found


def key(item: Object) -> str:
    """Return `KIND/NAME` of an object."""
    return f"{item['kind']}/{item['metadata']['name']}"


def find(items: Sequence[Object], kind: str) -> Object | None:
    """Return the object of a kind that has the service's name, or None."""
    return next((item for item in items if key(item) == f"{kind}/{NAME}"), None)


def stable_deployment(items: Sequence[Object]) -> Object:
    """Return the Deployment of the stable pods.

    Raises:
        ReleaseError: there is none.
    """
    if found := find(items, DEPLOYMENT):
        return found
    raise ReleaseError(f"the manifests have no Deployment {NAME}")


def image_of(deployment: Object) -> str:
    """Return the image of a Deployment's pods."""
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def model_of(deployment: Object) -> tuple[str, int] | None:
    """Return name and version of the model of a Deployment's pods; None without valid labels."""
    labels = deployment["spec"]["template"]["metadata"].get("labels", {})
    name, version = labels.get(f"{MODEL}-name"), labels.get(f"{MODEL}-version", "")
    return (name, int(version)) if name and re.fullmatch("[0-9]+", version) else None


def commit_of(deployment: Object) -> str | None:
    """Return the commit that a Deployment's release was built from; None if it does not name a valid one."""
    commit = deployment["metadata"].get("annotations", {}).get(COMMIT, "")
    return commit if re.fullmatch(FIELDS["commit"], commit) else None


def copy_of(deployment: Object, track: str, replicas: int) -> Object:
    """Return a copy of a Deployment whose pods are of another track.

    Args:
        deployment: from manifests, or as it is in the cluster.
        replicas: number of pods of the copy.
    """
    spec = deepcopy(deployment["spec"]) | {"replicas": replicas}
    spec["selector"]["matchLabels"][TRACK] = track
    spec["template"]["metadata"]["labels"][TRACK] = track
    metadata = deployment["metadata"]
    own = {
        name: text
        for name, text in metadata.get("annotations", {}).items()
        if name.startswith(LABEL_PREFIX) and name != OBJECTS
    }
    return {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "metadata": {
            "name": DEPLOYMENTS[track],
            "namespace": metadata["namespace"],
            "labels": metadata.get("labels", {}) | {TRACK: track},
            "annotations": own,
        },
        "spec": spec,
    }


def with_replicas(deployment: Object, replicas: int) -> Object:
    """Return a Deployment with another number of pods."""
    return deployment | {"spec": deployment["spec"] | {"replicas": replicas}}


def with_inventory(deployment: Object, items: Sequence[Object]) -> Object:
    """Return a Deployment with an annotation that lists the objects of its release."""
    metadata = deployment["metadata"]
    annotations = metadata.get("annotations", {}) | {OBJECTS: ",".join(sorted(map(key, items)))}
    return deployment | {"metadata": metadata | {"annotations": annotations}}


def dropped_objects(before: Sequence[Object], items: Sequence[Object]) -> list[str]:
    """Return the objects, `KIND/NAME`, that the release before had and the new one has not."""
    deployment = find(before, DEPLOYMENT)
    listed = deployment["metadata"].get("annotations", {}).get(OBJECTS, "") if deployment else ""
    return sorted(set(filter(None, listed.split(","))) - set(map(key, items)))


def _check_object(item: Any, where: str, namespace: str) -> None:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    metadata = metadata if isinstance(metadata, dict) else {}
    texts = [item.get("apiVersion"), item.get("kind"), metadata.get("name")] if metadata else [None]
    if not all(isinstance(text, str) and text for text in texts):
        raise ReleaseError(f"{where} is not a Kubernetes object with apiVersion, kind and metadata.name")
    if metadata.get("namespace") != namespace:
        raise ReleaseError(f"{where}, {key(item)}, is in {metadata.get('namespace')}, expected {namespace}")


def _check_deployment(deployment: Object, where: str) -> None:
    try:
        spec = deployment["spec"]
        tracks = {
            spec["selector"]["matchLabels"].get(TRACK),
            spec["template"]["metadata"]["labels"].get(TRACK),
        }
        image, replicas = image_of(deployment), spec["replicas"]
    except (LookupError, TypeError, AttributeError) as exc:
        raise ReleaseError(
            f"{where}: the Deployment {NAME} has no selector, labels, image or replicas"
        ) from exc
    if tracks != {STABLE}:
        raise ReleaseError(
            f"{where}: selector and pods of the Deployment {NAME} need the label {TRACK}: {STABLE}"
        )
    if not re.fullmatch(FIELDS["image"], image):
        raise ReleaseError(f"{where}: expected an image by digest, REPOSITORY@sha256:…, got {image!r}")
    if type(replicas) is not int or replicas < 1:
        raise ReleaseError(f"{where}: expected one replica or more, got {replicas!r}")
