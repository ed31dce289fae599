"""Puts an earlier release back into production."""

from dataclasses import replace
from pathlib import Path

from model_loader.registry.ledger import author, now
from model_loader.registry.pull import find_locked
from release import git_branch as origin
from release.errors import ReleaseError
from release.kubernetes import NAME, namespace, read_stage, verify_pods
from release.record_release import LOCK, PRODUCTION, find_store, lock_text, read_lock, write_down
from release.release_log import FILE, ROLLBACK, Release, before, find, parse
from release.subprocesses import run

ROLLOUT_TIMEOUT = "10m"
# What KubernetesManifest@1 leaves beside the Deployment while a canary runs.
COPIES = (f"{NAME}-canary", f"{NAME}-baseline")


def choose(to: str | None) -> Release:
    """The release that `to` names, or the one before the current.

    Raises:
        ReleaseError: there is none, or origin or the cluster cannot be asked.
    """
    releases = parse(origin.read(origin.fetch(), FILE) or "")
    if to:
        return find(releases, to)
    return before(releases, {pod.image for pod in read_stage(PRODUCTION) if pod.image})


def roll_back(release: Release, reason: str | None) -> str:
    """Deploys a release, and once all pods carry it, writes that down. Again, it changes nothing.

    Returns:
        What was done, in a sentence.

    Raises:
        ReleaseError: it could not be done; the message says how far it came.
        LoaderError: the store does not have the model, or refuses.
    """
    tip = origin.fetch()
    store = find_store(read_lock(tip))
    lock = release.lock(store.url)
    # What could not be written down afterwards is not deployed.
    find_locked(store, lock)
    try:
        _deploy(tip, release.image, lock_text(lock))
        verify_pods(read_stage(PRODUCTION), release.image, release.model)
    except ReleaseError as exc:
        raise ReleaseError(
            f"{exc}. Ledger, {LOCK} and {FILE} are as they were; scripts/which says what the pods carry. "
            f"To go on: scripts/rollback --to {release.image.rpartition('@')[2]}"
        ) from exc
    note = f"{ROLLBACK}: {reason}" if reason else ROLLBACK
    return write_down(replace(release, time=now(), who=author(), note=note), PRODUCTION)


def _deploy(tip: str, image: str, lock: str) -> None:
    """Applies the manifests of a commit with an image and a lock, and waits until they are what runs."""
    place = ("-n", namespace(PRODUCTION))
    deployment = f"deployment/{NAME}"
    # As many as the autoscaler has made it by now.
    replicas = run(
        "kubectl", "get", deployment, *place, "--ignore-not-found", "-o", "jsonpath={.spec.replicas}"
    ).strip()
    with origin.checkout(tip) as tree:
        (tree / LOCK).write_text(lock)
        # Nothing is installed twice.
        (tree / ".venv").symlink_to(Path(".venv").resolve())
        options = ("--replicas", replicas) if replicas else ()
        manifests = run("scripts/render", PRODUCTION, image, *options, cwd=tree)
    run("kubectl", "apply", *place, "-f", "-", text=manifests)
    run("kubectl", "rollout", "status", deployment, *place, f"--timeout={ROLLOUT_TIMEOUT}")
    # A canary goes last, since it may be all that answers. Waits for its pods to be gone.
    run("kubectl", "delete", "deployment", *COPIES, *place, "--ignore-not-found", "--cascade=foreground")
