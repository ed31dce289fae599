"""What the registry and the cluster know of an image, as JSON for other programs.

Each part is an object: what was found; or `error`, if it is unavailable; or `problem`, if it is wrong.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from release.errors import ReleaseError
from release.image_labels import read_labels
from release.kubernetes import namespace_of, read_pods
from release.record_release import PRODUCTION
from release.subprocesses import run

VERIFY = Path("scripts/verify_image")
# What `notation verify` prints for an image without a valid signature. Its exit code is the same if it cannot
# reach the registry. https://github.com/notaryproject/notation
UNSIGNED = re.compile(
    "no signature is associated|failed for all the signatures|failed: signing certificate",
    re.IGNORECASE,
)


def collect_evidence(image: str | None) -> dict[str, Any]:
    """Return the labels and the signature of an image, and the pods in production.

    Args:
        image: `REPOSITORY@sha256:…`; None: only the pods.
    """
    evidence = {"pods": _ask(lambda: {"pods": _pods()})}
    if image is not None:
        evidence |= {"image": _ask(lambda: _labels(image)), "signature": _signature(image)}
    return evidence


def _ask(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read()
    except ReleaseError as exc:
        return {"error": " ".join(str(exc).split())}


def _labels(image: str) -> dict[str, Any]:
    """Return the labels of an image, and its id, by which its bill of materials names it."""
    model, commit = read_labels(image)
    ids = json.loads(run("docker", "image", "inspect", image))
    return {"model": model, "commit": commit, "id": ids[0]["Id"]}


def _signature(image: str) -> dict[str, Any]:
    if not VERIFY.is_file():
        return {"error": f"{VERIFY} is not here: run the command at the top of the clone"}
    try:
        run(str(VERIFY), image)
    except ReleaseError as exc:
        text = " ".join(str(exc).split())
        return {"problem": text} if UNSIGNED.search(text) else {"error": text}
    return {"verified": True}


def _pods() -> list[dict[str, Any]]:
    pods = read_pods(namespace_of(PRODUCTION), may_be_empty=True)
    return [
        {
            "name": pod.name,
            "track": pod.track,
            "image": pod.image_digest,
            "model": pod.model,
            "ready": pod.ready,
        }
        for pod in pods
    ]
