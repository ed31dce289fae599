"""What a rollback would change: for `rollback --dry-run`, and before the question on a terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from model_loader.registry.ledger import author
from model_loader.text_tables import short
from release import git_branch
from release.cluster import Cluster, Object, applied_configuration, resource
from release.kubernetes import NAME, Pod, read_pods
from release.manifests import DEPLOYMENT, key, with_replicas
from release.record_release import LOCK_FILE, PRODUCTION
from release.release_log import LOG_FILE, Release
from release.rollback import NAMESPACE, check_recordable, objects_to_apply, render
from release.rollout_state import read_state

MAX_PATHS = 8


def describe_rollback(release: Release, reason: str | None) -> str:
    """Return a text, several lines, that says what `roll_back` would do. Nothing is changed.

    Raises:
        ReleaseError: origin or the cluster is unreachable, or the manifests cannot be rendered.
        LoaderError: the store does not have the model, or it was withdrawn.
    """
    tip = git_branch.fetch()
    lock = check_recordable(tip, release)
    cluster = Cluster(NAMESPACE)
    items = objects_to_apply(cluster, render(tip, release, lock))
    entry = f"rollback of {PRODUCTION} to {lock.name}/{lock.version} by {author()}"
    state = read_state(cluster)
    rows = [
        ("image", release.image),
        ("model", release.model),
        ("commit", f"{release.commit}, released by {release.who} at {release.time}"),
        *(("pods now", text) for text in describe_pods(read_pods(NAMESPACE, may_be_empty=True))),
        *([("rollout", f"of {state.image} by {state.run}, is ended")] if state else []),
        *(("manifests", text) for text in changes(cluster, items)),
        ("ledger", f"{entry}: {reason}" if reason else entry),
        (f"origin/{git_branch.BRANCH}", f"{LOCK_FILE}, and a line in {LOG_FILE}"),
    ]
    return "\n".join(f"{name:<12} {text}" for name, text in rows)


def describe_pods(pods: Sequence[Pod]) -> list[str]:
    """Return one text for each release and track that pods run."""
    counts = Counter((pod.track, pod.model.partition("@")[0], short(pod.image_digest)) for pod in pods)
    return [
        f"{count} {track}: {model or 'unknown model'} in {image or 'no image yet'}"
        for (track, model, image), count in counts.items()
    ] or ["none"]


def changes(cluster: Cluster, items: Sequence[Object]) -> list[str]:
    """Return one text for each object that applying `items` would create or change.

    Fields are named without their values, which may be confidential.

    Raises:
        ReleaseError: kubectl fails.
    """
    found = []
    for item in items:
        live = cluster.find(resource(item), item["metadata"]["name"])
        if live is None:
            found.append(f"{key(item)} is new")
            continue
        applied = applied_configuration(live)
        if key(item) == f"{DEPLOYMENT}/{NAME}":
            # The autoscaler may have changed the number since.
            applied = with_replicas(applied, live["spec"]["replicas"])
        if paths := list(changed_paths(applied, item)):
            more = f" and {len(paths) - MAX_PATHS} more" if len(paths) > MAX_PATHS else ""
            found.append(f"{key(item)}: {', '.join(paths[:MAX_PATHS])}{more}")
    return found or ["no changes"]


def changed_paths(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each field that differs. Items of a list are compared by their names."""
    old, new = _by_name(old), _by_name(new)
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from changed_paths(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif old != new:
        yield path


def _by_name(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value):
        return {item["name"]: item for item in value}
    return value
