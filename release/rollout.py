"""Roll a release out: a canary beside control pods, then all pods; or restore the release before.

The traffic is split by the number of pods: the Service selects the pods of all tracks. Every command can be
killed at any point. `reject` then restores the cluster, and so does the `start` of the next run.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from model_loader.registry.ledger import now
from release import autoscaler
from release.cluster import Cluster, Object, applied_configuration, resource
from release.errors import ConflictError, ReleaseError
from release.kubernetes import CANARY, CONTROL, DEPLOYMENTS, NAME, namespace_of
from release.manifests import (
    AUTOSCALER,
    DEPLOYMENT,
    copy_of,
    dropped_objects,
    find,
    image_of,
    key,
    read_manifests,
    stable_deployment,
    with_inventory,
    with_replicas,
)
from release.order import check_order
from release.pod_check import CANARY_RUNS, STABLE_RUN, check
from release.record_release import PRODUCTION
from release.rollout_state import (
    LostRolloutError,
    RolloutState,
    forget,
    owned_state,
    read_state,
)

STEP_TIMEOUT_S, PROMOTION_TIMEOUT_S = 300, 600
ATTEMPTS = 5


def start(cluster: Cluster, path: Path, run: str) -> None:
    """Begin to roll out the release in a file of manifests. No pod changes yet.

    Rejects what an earlier run left, refuses a release older than the one that runs, remembers the objects as
    they are, and keeps the autoscaler from removing pods. On the very first deployment, applies everything
    but Deployment and autoscaler.

    Raises:
        ReleaseError: the manifests are invalid or older, or kubectl or git fails.
    """
    manifests = read_manifests(path, cluster.namespace)
    for _ in range(ATTEMPTS):
        try:
            _take_over(cluster, run)
            state = _new_state(cluster, manifests, run)
            cluster.create(state.to_object(cluster.namespace))
        except ConflictError:
            continue  # another run has started in the meantime: take over from it
        break
    else:
        raise ReleaseError(f"other runs started rollouts in {cluster.namespace} at each attempt: try again")
    _say(f"{run} rolls out {state.image}")
    if state.select_policy:
        autoscaler.hold(cluster)
    if state.changes_objects:
        _say(f"first deployment in {cluster.namespace}: applying everything but Deployment and autoscaler")
        cluster.apply(_others(manifests))


def step(cluster: Cluster, run: str, percent: int, wait_s: int) -> None:
    """Run canary and control pods for a percentage of the stable pods, and check every pod.

    Args:
        percent: 1 to 100.
        wait_s: how long the checks may fail before the step fails.

    Raises:
        LostRolloutError: another run has taken over; nothing was changed.
        ReleaseError: a pod does not become ready, or runs something else; or kubectl fails.
    """
    state = owned_state(cluster, run)
    new = stable_deployment(state.manifests)
    stable = cluster.find("deployment", NAME)
    if stable is None and find(state.before, DEPLOYMENT):
        raise ReleaseError(
            f"the Deployment {NAME} in {cluster.namespace} was deleted: reject, and start again"
        )
    pods = canary_pods((stable or new)["spec"]["replicas"], percent)
    copies = [copy_of(new, CANARY, pods)] + ([copy_of(stable, CONTROL, pods)] if stable else [])
    _say(f"{percent} %: {pods} canary and {pods if stable else 'no'} control pods")
    owned_state(cluster, run)
    cluster.apply(copies)
    for copy in copies:
        cluster.wait(copy["metadata"]["name"], STEP_TIMEOUT_S)
    check(cluster.namespace, CANARY_RUNS, state.image, smoke=True, wait_s=wait_s)


def promote(cluster: Cluster, run: str, wait_s: int) -> None:
    """Deploy the release to all pods, check them, and end the rollout.

    Raises:
        LostRolloutError: another run has taken over; it restores what this command changed.
        ReleaseError: a pod does not become ready, or runs something else; or kubectl fails.
    """
    state = owned_state(cluster, run)
    # From here on a rejection restores all objects.
    try:
        cluster.replace(replace(state, changes_objects=True).to_object(cluster.namespace))
    except ConflictError as exc:
        raise LostRolloutError(f"another run has taken over the rollout in {cluster.namespace}") from exc
    _say(f"promoting {state.image} to {_promoted_replicas(cluster, state)} pods")
    cluster.apply(_others(state.manifests))
    # The template first: of both at once, Kubernetes would add pods of the old template.
    if stable := cluster.find("deployment", NAME):
        _deploy(cluster, state, stable["spec"]["replicas"])
    # Counted anew, because the autoscaler may have added pods meanwhile.
    _deploy(cluster, state, _promoted_replicas(cluster, state))
    check(cluster.namespace, STABLE_RUN, state.image, smoke=True, wait_s=wait_s)
    owned_state(cluster, run)
    _delete_copies(cluster)
    owned_state(cluster, run)
    new_autoscaler = find(state.manifests, AUTOSCALER)
    cluster.apply([new_autoscaler] if new_autoscaler else [])
    autoscaler.release(cluster, None if new_autoscaler else state.select_policy)
    for name in dropped_objects(state.before, state.manifests):
        _say(f"{name} is not part of the new release and stays: delete it by hand if nothing needs it")
    owned_state(cluster, run)
    forget(cluster)
    _say(f"all pods in {cluster.namespace} run {state.image}")


def reject(cluster: Cluster, run: str) -> None:
    """Delete canary and control pods, and restore the objects as they were. With nothing to reject, succeed.

    Raises:
        LostRolloutError: the rollout belongs to another run; nothing was changed.
        ReleaseError: something could not be restored; everything else was. Another call continues.
    """
    state = read_state(cluster)
    if state and state.run != run:
        owned_state(cluster, run)
    _undo(cluster, state)
    _say(f"{cluster.namespace} is as before {state.image}" if state else "nothing is being rolled out")


def canary_pods(stable_pods: int, percent: int) -> int:
    """Return the number of canary pods, and of control pods, for a percentage: at least one."""
    return max(1, (stable_pods * percent + 50) // 100)


def _take_over(cluster: Cluster, run: str) -> None:
    """Reject what an earlier run, or an earlier attempt of this one, has left."""
    state = read_state(cluster)
    if state is None:
        _undo(cluster, None)
        return
    _say(f"rejecting what {state.run} left of {state.image}, started {state.started}")
    cluster.replace(replace(state, run=run).to_object(cluster.namespace))
    _undo(cluster, owned_state(cluster, run))


def _new_state(cluster: Cluster, manifests: list[Object], run: str) -> RolloutState:
    """Return the state of a new rollout, with the objects as they are now.

    Raises:
        ReleaseError: the release is older than the one that runs, or cannot replace it.
    """
    live = [item for each in manifests if (item := cluster.find(resource(each), each["metadata"]["name"]))]
    new, running = stable_deployment(manifests), find(live, DEPLOYMENT)
    if running:
        _check_selector(running, new)
        is_recorded = cluster.namespace == namespace_of(PRODUCTION)
        if remark := check_order(running, new, is_recorded=is_recorded):
            _say(remark)
    scaler = autoscaler.find_autoscaler(cluster)
    return RolloutState(
        run=run,
        started=now(),
        image=image_of(new),
        changes_objects=running is None,
        select_policy=autoscaler.scale_down_policy(scaler) if scaler else None,
        manifests=manifests,
        before=[applied_configuration(item) for item in live],
    )


def _check_selector(running: Object, new: Object) -> None:
    before, after = (item["spec"]["selector"]["matchLabels"] for item in (running, new))
    if before != after:
        raise ReleaseError(
            f"the Deployment {NAME} selects its pods by {before}, the new release by {after}, and a selector "
            f"cannot change: run kubectl -n {running['metadata']['namespace']} delete deployment {NAME} "
            "--cascade=orphan, then kubectl apply the manifests, and delete the old ReplicaSets when the new "
            "pods are ready"
        )


def _deploy(cluster: Cluster, state: RolloutState, replicas: int) -> None:
    """Apply the new Deployment with a number of pods, and wait until all are new and ready."""
    owned_state(cluster, state.run)
    new = with_inventory(stable_deployment(state.manifests), state.manifests)
    cluster.apply([with_replicas(new, replicas)])
    cluster.wait(NAME, PROMOTION_TIMEOUT_S)


def _promoted_replicas(cluster: Cluster, state: RolloutState) -> int:
    """Return the number of pods that have to take the traffic of the stable, canary and control pods.

    No more than the autoscaler allows, in the new manifests and at the moment: it would remove the others at
    once. Without an autoscaler, the manifests' number, or else it would grow with every release.
    """
    new = stable_deployment(state.manifests)
    live = autoscaler.find_autoscaler(cluster)
    wanted = find(state.manifests, AUTOSCALER) or live
    if wanted is None:
        return int(new["spec"]["replicas"])
    deployments = [cluster.find("deployment", name) for name in DEPLOYMENTS.values()]
    running = sum(each["spec"]["replicas"] for each in deployments if each)
    most = min(each["spec"]["maxReplicas"] for each in (wanted, live) if each)
    return int(min(most, max(running, wanted["spec"].get("minReplicas", 1))))


def _others(manifests: list[Object]) -> list[Object]:
    """Return the objects without Deployment and autoscaler."""
    return [
        item for item in manifests if item not in (find(manifests, DEPLOYMENT), find(manifests, AUTOSCALER))
    ]


def _undo(cluster: Cluster, state: RolloutState | None) -> None:
    """Delete canary and control pods first; then restore, as far as possible, and forget the state.

    Raises:
        ReleaseError: something failed; the state is kept for another attempt.
    """
    problems: list[str] = []

    def attempt(action: Callable[[], None]) -> None:
        try:
            action()
        except LostRolloutError:
            raise
        except ReleaseError as exc:
            problems.append(str(exc))

    attempt(lambda: _delete_copies(cluster))
    if state:
        owned_state(cluster, state.run)  # the deletion may have taken minutes
        if state.changes_objects:
            attempt(lambda: _restore(cluster, state))
    elif read_state(cluster):
        return  # another run has started meanwhile, and holds the autoscaler
    attempt(lambda: autoscaler.release(cluster, state.select_policy if state else None))
    if problems:
        raise ReleaseError(
            f"{'; '.join(problems)}. Run scripts/rollout reject --namespace {cluster.namespace} again"
        )
    if state:
        owned_state(cluster, state.run)
        forget(cluster)
        # After that, because the state cannot help pods that do not become ready.
        if state.changes_objects and find(state.before, DEPLOYMENT):
            cluster.wait(NAME, PROMOTION_TIMEOUT_S)


def _restore(cluster: Cluster, state: RolloutState) -> None:
    """Apply the objects as they were, with as many pods as run now, and delete those that were added."""
    existed = set(map(key, state.before))
    before = list(state.before)
    if deployment := find(before, DEPLOYMENT):
        live = cluster.find("deployment", NAME)
        before.remove(deployment)
        before.append(with_replicas(deployment, (live or deployment)["spec"]["replicas"]))
    cluster.apply(before)
    for item in state.manifests:
        if key(item) not in existed:
            cluster.delete(resource(item), item["metadata"]["name"])


def _delete_copies(cluster: Cluster) -> None:
    cluster.delete("deployment", DEPLOYMENTS[CANARY], DEPLOYMENTS[CONTROL])


def _say(text: str) -> None:
    print(f"rollout: {text}", flush=True)
