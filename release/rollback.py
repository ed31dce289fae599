"""Restore an earlier release in production."""

from dataclasses import replace
from pathlib import Path

from model_loader.registry.ledger import author, now
from model_loader.registry.pull import find_locked
from release import git_branch
from release.errors import ReleaseError
from release.kubernetes import NAME, namespace_of, read_pods, verify_pods
from release.record_release import LOCK_FILE, PRODUCTION, find_store, lock_text, read_lock, write_record
from release.release_log import LOG_FILE, ROLLBACK, Release, default_target, find, parse
from release.subprocesses import run

ROLLOUT_TIMEOUT = "10m"
NAMESPACE = namespace_of(PRODUCTION)
# KubernetesManifest@1 creates these during a canary: the canary itself, and control pods (track `baseline`).
CANARY_DEPLOYMENTS = (f"{NAME}-canary", f"{NAME}-baseline")


def choose_release(to: str | None) -> Release:
    """Return the release that `to` identifies, or the default target of a rollback.

    Raises:
        ReleaseError: there is no such release, or origin or the cluster is unreachable.
    """
    releases = parse(git_branch.read(git_branch.fetch(), LOG_FILE) or "")
    if to:
        return find(releases, to)
    return default_target(releases, {pod.image_digest for pod in read_pods(NAMESPACE) if pod.image_digest})


def roll_back(release: Release, reason: str | None) -> str:
    """Deploy a release and, once all pods run it, record that. Doing it again changes nothing.

    Returns:
        One sentence that describes what was done.

    Raises:
        ReleaseError: a step failed; the message says what was done so far.
        LoaderError: the store does not have the model, or rejects the change.
    """
    tip = git_branch.fetch()
    store = find_store(read_lock(tip))
    lock = release.lock(store.url)
    # Fail before the deployment if the release could not be recorded after it.
    find_locked(store, lock)
    try:
        _deploy(tip, release.image, lock_text(lock))
        verify_pods(read_pods(NAMESPACE), release.image, release.model)
    except ReleaseError as exc:
        raise ReleaseError(
            f"{exc}. Ledger, {LOCK_FILE} and {LOG_FILE} are unchanged; scripts/which shows what pods run. "
            f"To continue: scripts/rollback --to {release.image.rpartition('@')[2]}"
        ) from exc
    note = f"{ROLLBACK}: {reason}" if reason else ROLLBACK
    return write_record(replace(release, time=now(), who=author(), note=note), PRODUCTION)


def _deploy(tip: str, image: str, lock: str) -> None:
    """Apply the manifests of a commit with an image and a lock, and wait for the rollout."""
    in_namespace = ("-n", NAMESPACE)
    deployment = f"deployment/{NAME}"
    # Keep the number of replicas that the autoscaler has set.
    replicas = run(
        "kubectl", "get", deployment, *in_namespace, "--ignore-not-found", "-o", "jsonpath={.spec.replicas}"
    ).strip()
    with git_branch.checkout(tip) as tree:
        (tree / LOCK_FILE).write_text(lock)
        # Share the environment, so that scripts/render does not install it again.
        (tree / ".venv").symlink_to(Path(".venv").resolve())
        options = ("--replicas", replicas) if replicas else ()
        manifests = run("scripts/render", PRODUCTION, image, *options, cwd=tree)
    run("kubectl", "apply", *in_namespace, "-f", "-", text=manifests)
    run("kubectl", "rollout", "status", deployment, *in_namespace, f"--timeout={ROLLOUT_TIMEOUT}")
    # Delete the canary last: its pods may be the only ones that answer. --cascade=foreground waits for them.
    run(
        *("kubectl", "delete", "deployment", *CANARY_DEPLOYMENTS, *in_namespace),
        *("--ignore-not-found", "--cascade=foreground"),
    )
