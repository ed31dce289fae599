"""Restore an earlier release in production."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from model_loader.errors import LoaderError
from model_loader.registry.ledger import author, now, read_ledger
from model_loader.registry.lockfile import Lock
from model_loader.registry.pull import find_locked
from model_loader.registry.stages import check_not_withdrawn
from release import autoscaler, git_branch
from release.cluster import Cluster, Object
from release.errors import ReleaseError
from release.kubernetes import CANARY, CONTROL, DEPLOYMENTS, NAME, namespace_of, read_pods, verify_pods
from release.manifests import parse_manifests, stable_deployment, with_inventory, with_replicas
from release.record_release import LOCK_FILE, PRODUCTION, find_store, lock_text, read_lock, write_record
from release.release_log import LOG_FILE, ROLLBACK, Release, default_target, find, parse
from release.rollout_state import forget
from release.subprocesses import run

ROLLOUT_TIMEOUT_S = 600
NAMESPACE = namespace_of(PRODUCTION)


def choose_release(to: str | None) -> Release:
    """Return the release that `to` identifies, or the default target of a rollback.

    Raises:
        ReleaseError: there is no such release, or origin or the cluster is unreachable.
    """
    releases = parse(git_branch.read(git_branch.fetch(), LOG_FILE) or "")
    if to:
        return find(releases, to)
    running = {pod.image_digest for pod in read_pods(NAMESPACE, may_be_empty=True) if pod.image_digest}
    if not running:
        raise ReleaseError(
            f"no pod runs an image in {NAMESPACE}: choose a release, scripts/rollback --to RELEASE"
        )
    return default_target(releases, running)


def roll_back(release: Release, reason: str | None) -> str:
    """Deploy a release and, once all pods run it, record that. Doing it again changes nothing.

    Returns:
        One sentence that describes what was done.

    Raises:
        ReleaseError: a step failed, or was interrupted; the message says what was done so far.
        LoaderError: the store does not have the model.
    """
    tip = git_branch.fetch()
    lock = check_recordable(tip, release)
    again = f"scripts/rollback --to {release.image.rpartition('@')[2]}"
    try:
        _deploy(render(tip, release, lock))
        verify_pods(NAMESPACE, release.image, release.model)
    except (ReleaseError, KeyboardInterrupt) as exc:
        raise ReleaseError(
            f"{_problem(exc)}. Ledger, {LOCK_FILE} and {LOG_FILE} are unchanged; scripts/which shows what "
            f"pods run. To continue: {again}"
        ) from exc
    note = f"{ROLLBACK}: {reason}" if reason else ROLLBACK
    try:
        done = write_record(replace(release, time=now(), who=author(), note=note), PRODUCTION)
    except (LoaderError, ReleaseError, KeyboardInterrupt) as exc:
        raise ReleaseError(
            f"all pods run {release.model}, but that is not recorded completely: {_problem(exc)}. "
            f"To continue: {again}"
        ) from exc
    try:
        verify_pods(NAMESPACE, release.image, release.model)
    except ReleaseError as exc:
        raise ReleaseError(
            f"{done}, but the pods have changed since: {exc}. Another rollback or a rollout is at work; "
            "scripts/which shows the result"
        ) from exc
    return done


def check_recordable(tip: str, release: Release) -> Lock:
    """Return a release's lock, if it could be recorded after a deployment.

    Args:
        tip: the latest commit of origin.

    Raises:
        LoaderError: the store does not have the model, or it was withdrawn.
        ReleaseError: origin has no lock.
    """
    store = find_store(read_lock(tip))
    lock = release.lock(store.url)
    find_locked(store, lock)
    check_not_withdrawn(read_ledger(store, lock.name), lock.version)
    return lock


def render(tip: str, release: Release, lock: Lock) -> list[Object]:
    """Return the manifests of a commit with a release's image and lock.

    Raises:
        ReleaseError: they cannot be rendered.
    """
    with git_branch.checkout(tip) as tree:
        (tree / LOCK_FILE).write_text(lock_text(lock))
        # Share the environment as it is: a rollback must not depend on a package index.
        (tree / ".venv").symlink_to(Path(".venv").resolve())
        command = ("scripts/render", PRODUCTION, release.image, "--commit", release.commit)
        return parse_manifests(
            run(*command, cwd=tree, environ={"VENV_AS_IT_IS": "1"}), "scripts/render", NAMESPACE
        )


def objects_to_apply(cluster: Cluster, manifests: Sequence[Object]) -> list[Object]:
    """Return the objects of the manifests, the Deployment last, with the autoscaler's number of replicas.

    Raises:
        ReleaseError: kubectl fails.
    """
    deployment = stable_deployment(manifests)
    replicas = (cluster.find("deployment", NAME) or deployment)["spec"]["replicas"]
    others = [item for item in manifests if item is not deployment]
    return [*others, with_replicas(with_inventory(deployment, manifests), replicas)]


def _deploy(manifests: Sequence[Object]) -> None:
    """Apply manifests and wait for the rollout."""
    cluster = Cluster(NAMESPACE)
    items = objects_to_apply(cluster, manifests)
    # A rollout in progress changes nothing from here on.
    forget(cluster)
    cluster.apply(items)
    autoscaler.release(cluster, None)
    cluster.wait(NAME, ROLLOUT_TIMEOUT_S)
    # Delete the canary last: its pods may be the only ones that answer.
    cluster.delete("deployment", DEPLOYMENTS[CANARY], DEPLOYMENTS[CONTROL])


def _problem(exc: BaseException) -> str:
    return str(exc) or "interrupted"
