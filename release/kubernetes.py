"""The pods of a namespace: what their manifests declare, and what they run."""

import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from model_loader.package.service_file import service
from release.errors import ReleaseError
from release.subprocesses import run

NAME = service().name
SELECTOR = f"app.kubernetes.io/name={NAME}"
LABEL_PREFIX = f"{service().label_domain}/"
MODEL = f"{LABEL_PREFIX}model"
TRACK = f"{LABEL_PREFIX}track"
STABLE, CANARY, CONTROL = "stable", "canary", "control"
# Track → Deployment. Canary and control pods exist only while a release is rolled out.
DEPLOYMENTS = {STABLE: NAME, CANARY: f"{NAME}-{CANARY}", CONTROL: f"{NAME}-{CONTROL}"}
ENDED = ("Succeeded", "Failed")
TIMEOUT_S = 10
READY_S = 300
INTERVAL_S = 3.0


@dataclass(frozen=True)
class Pod:
    """A pod that is not terminating.

    Attributes:
        track: `stable`, `canary` or `control`; control pods are fresh pods of the stable release that run
            beside a canary.
        declared_image: the image in the pod's manifest, `REPOSITORY@sha256:…`.
        image_digest: digest of the running image, `sha256:…`; empty until one runs.
        model: `NAME/VERSION@sha256:…` from label and annotation; empty if the pod lacks one of them.
        ready: whether the pod receives traffic.
    """

    name: str
    track: str
    declared_image: str
    image_digest: str
    model: str
    ready: bool

    @property
    def model_digest(self) -> str:
        """Digest of the declared model, `sha256:…`; empty if there is none."""
        return self.model.rpartition("@")[2]


def namespace_of(stage: str) -> str:
    """Return the namespace of a stage."""
    found: str = getattr(service().namespaces, stage)
    return found


def read_pods(namespace: str, *, may_be_empty: bool = False) -> list[Pod]:
    """Return the pods of a namespace, canaries included, sorted by name.

    Raises:
        ReleaseError: kubectl fails or prints no list of pods; or the list is empty, unless `may_be_empty`.
    """
    text = run("kubectl", "get", "pods", "-l", SELECTOR, "-n", namespace, "-o", "json")
    try:
        items = json.loads(text)["items"]
        pods = [_parse_pod(item) for item in items if not _is_ending(item)]
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise ReleaseError(f"kubectl get pods did not print a list of pods: {text[:80]!r}") from exc
    if not pods and not may_be_empty:
        raise ReleaseError(f"no pods are running in {namespace}")
    return sorted(pods, key=lambda pod: pod.name)


def verify_pods(namespace: str, image: str, model: str) -> None:
    """Verify that all pods of a namespace are ready and run an image with a model.

    Pods that an autoscaler or a node has just started have READY_S to become ready.

    Raises:
        ReleaseError: a pod is not ready in time, or runs something else; the message names the pod.
    """
    deadline = time.monotonic() + READY_S
    while starting := _find_starting(read_pods(namespace), image, model):
        if time.monotonic() >= deadline:
            raise ReleaseError(f"pod {starting[0].name} is not ready")
        time.sleep(max(0.0, min(INTERVAL_S, deadline - time.monotonic())))


def _find_starting(pods: Sequence[Pod], image: str, model: str) -> list[Pod]:
    """Return the pods that are not ready yet.

    Raises:
        ReleaseError: a pod runs another image, or is labelled with another model.
    """
    digest = image.rpartition("@")[2]
    for pod in pods:
        if pod.image_digest not in ("", digest):
            raise ReleaseError(f"pod {pod.name} runs {pod.image_digest}, expected {digest}")
        if pod.model != model:
            raise ReleaseError(f"pod {pod.name} is labelled with {pod.model or 'no model'}, expected {model}")
    return [pod for pod in pods if not (pod.ready and pod.image_digest)]


@contextmanager
def forward_port(namespace: str, pod: Pod) -> Iterator[str]:
    """Forward a local port to a pod and yield the URL. No NetworkPolicy applies to `kubectl port-forward`.

    Raises:
        ReleaseError: kubectl cannot forward the port, or does not within `TIMEOUT_S`.
    """
    command = ["kubectl", "port-forward", "--namespace", namespace, f"pod/{pod.name}", f":{service().port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(TIMEOUT_S, process.kill)
        timer.start()
        # kubectl prints a line for each connection, and would wait if nobody read them.
        drain = threading.Thread(target=deque, args=(process.stdout, 0))
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not (match := re.match(r"Forwarding from (127\.0\.0\.1:\d+) ", line)):
                raise ReleaseError(f"{pod.name} is unreachable: kubectl port-forward printed {line!r}")
            timer.cancel()
            drain.start()
            yield f"http://{match[1]}"
        finally:
            timer.cancel()
            process.terminate()
            if drain.is_alive():
                drain.join()


def read_reported_digest(url: str) -> str:
    """Return the digest of the model that a pod reports at `/model`.

    Raises:
        ReleaseError: the pod does not answer, or its response has no digest.
    """
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"{url}/model", timeout=TIMEOUT_S
        ) as response:
            return str(json.load(response)["digest"])
    except (OSError, ValueError, KeyError) as exc:
        raise ReleaseError(f"{url}/model does not answer: {exc!r}") from exc


def _is_ending(item: Any) -> bool:
    return "deletionTimestamp" in item["metadata"] or item["status"].get("phase") in ENDED


def _parse_pod(item: Any) -> Pod:
    metadata, status = item["metadata"], item["status"]
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    # The digest of the image that the node runs, which may differ from the manifest's.
    containers = [each for each in status.get("containerStatuses", []) if each["name"] == NAME]
    digests = [each["imageID"].rpartition("@")[2] for each in containers]
    name, version = labels.get(f"{MODEL}-name"), labels.get(f"{MODEL}-version")
    digest = annotations.get(f"{MODEL}-digest-sha256")
    return Pod(
        name=metadata["name"],
        track=labels.get(TRACK, STABLE),
        declared_image=item["spec"]["containers"][0]["image"],
        image_digest=digests[0] if digests else "",
        model=f"{name}/{version}@sha256:{digest}" if name and version and digest else "",
        ready=any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])),
    )
