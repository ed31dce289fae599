"""The Deployment controller: ReplicaSets for each revision, rolled out with maxSurge and maxUnavailable.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
"""

import copy
import hashlib
import json
import math

from tests.rehearsal.cluster.kinds import Document
from tests.rehearsal.cluster.objects import create, listed, owned, set_status, update
from tests.rehearsal.cluster.state import State

HASH = "pod-template-hash"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"


def reconcile_deployments(state: State, now: float) -> None:
    """Bring every Deployment one step closer to its specification, and report its status.

    Args:
        now: the time, in seconds.
    """
    for deployment in listed(state, "Deployment"):
        if "deletionTimestamp" in deployment["metadata"]:
            continue
        sets = owned(state, deployment, "ReplicaSet")
        new = next((each for each in sets if each["metadata"]["labels"][HASH] == _revision(deployment)), None)
        if any(
            _annotation(each, DESIRED) != deployment["spec"]["replicas"] for each in sets if _wanted(each)
        ):
            _scale(state, deployment, sets, new)
        else:
            _roll(state, deployment, [each for each in sets if each is not new], new)
        _report(state, deployment, now)


def is_ready(pod: Document) -> bool:
    """Return whether a pod is ready; a terminating one no longer counts."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"]["conditions"])


def active_pods(state: State, replica_set: Document) -> list[Document]:
    """Return the pods of a ReplicaSet that are not terminating."""
    pods = owned(state, replica_set, "Pod")
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def _scale(state: State, deployment: Document, sets: list[Document], new: Document | None) -> None:
    """Adapt the present ReplicaSets to another number of replicas, before a new revision is rolled out.

    A single active ReplicaSet gets all replicas, even if it is of an earlier revision. Several ones are
    scaled in proportion to their size.
    """
    replicas = deployment["spec"]["replicas"]
    active = [each for each in sets if _wanted(each)]
    if len(active) == 1:
        _resize(state, deployment, active[0], replicas)
        return
    allowed = replicas + _surge(deployment) if replicas else 0
    total = sum(map(_wanted, active))
    left = allowed - total
    for each in sorted(active, key=lambda each: (-_wanted(each), each is not new)):
        share = round(_wanted(each) * allowed / max(1, _annotation(each, MAX_REPLICAS) or total)) - _wanted(
            each
        )
        change = min(max(share, 0), left) if left > 0 else max(min(share, 0), left)
        left -= change
        _resize(state, deployment, each, max(0, _wanted(each) + change))


def _roll(state: State, deployment: Document, old: list[Document], new: Document | None) -> None:
    """Create and grow the new ReplicaSet, and shrink the others as its pods become ready."""
    replicas, surge = deployment["spec"]["replicas"], _surge(deployment)
    if new is None:
        new = create(state, _replica_set(deployment), deployment)
        _take_fault(state, deployment, new)
    room = replicas + surge - sum(map(_wanted, [*old, new]))
    if _wanted(new) > replicas:
        _resize(state, deployment, new, replicas)
    elif _wanted(new) < replicas and room > 0:
        _resize(state, deployment, new, _wanted(new) + min(room, replicas - _wanted(new)))
    ready = {_uid(each): sum(map(is_ready, active_pods(state, each))) for each in [*old, new]}
    least = replicas - _unavailable(deployment, surge)
    removable = sum(map(_wanted, [*old, new])) - least - (_wanted(new) - ready[_uid(new)])
    for each in old:  # first the pods that are not ready
        count = min(max(0, removable), max(0, _wanted(each) - ready[_uid(each)]))
        removable -= count
        _resize(state, deployment, each, _wanted(each) - count)
    removable = min(removable, sum(ready.values()) - least)
    for each in old:
        count = min(max(0, removable), _wanted(each))
        removable -= count
        _resize(state, deployment, each, _wanted(each) - count)


def _take_fault(state: State, deployment: Document, new: Document) -> None:
    """Let a new ReplicaSet's pods fail, if a scenario wants the Deployment's next rollout to."""
    key = f"{deployment['metadata']['namespace']}/{deployment['metadata']['name']}"
    if key in state["broken"]:
        state["broken"][_uid(new)] = state["broken"].pop(key)


def _report(state: State, deployment: Document, now: float) -> None:
    """Set the status, and its condition Progressing as the deadline for progress requires."""
    sets = owned(state, deployment, "ReplicaSet")
    pods = [pod for each in sets for pod in active_pods(state, each)]
    updated = [pod for pod in pods if pod["metadata"]["labels"][HASH] == _revision(deployment)]
    ready, replicas = sum(map(is_ready, pods)), deployment["spec"]["replicas"]
    complete = len(updated) == len(pods) == replicas == ready
    known = state["progress"].setdefault(_uid(deployment), {})
    seen = [_revision(deployment), len(updated), len(pods), ready]
    if known.get("seen") != seen:
        known |= {"seen": seen, "at": now}
    if complete or known.get("complete") != _revision(deployment):
        known["complete"] = _revision(deployment) if complete else ""
    reason, status = "ReplicaSetUpdated", "True"
    if known["complete"]:
        reason = "NewReplicaSetAvailable"
    elif now - known["at"] > state["deadline_s"]:
        reason, status = "ProgressDeadlineExceeded", "False"
    counts = {
        "replicas": len(pods),
        "updatedReplicas": len(updated),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, replicas - ready),
    }
    set_status(
        state,
        deployment,
        {
            "observedGeneration": deployment["metadata"]["generation"],
            **{name: count for name, count in counts.items() if count},
            "conditions": [{"type": "Progressing", "status": status, "reason": reason}],
        },
    )


def _replica_set(deployment: Document) -> Document:
    """Return a ReplicaSet without replicas for the Deployment's template."""
    metadata, revision = deployment["metadata"], _revision(deployment)
    template = copy.deepcopy(deployment["spec"]["template"])
    template["metadata"]["labels"] |= {HASH: revision}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name']}-{revision}",
            "namespace": metadata["namespace"],
            "labels": template["metadata"]["labels"],
        },
        "spec": {"replicas": 0, "template": template},
    }


def _resize(state: State, deployment: Document, replica_set: Document, replicas: int) -> None:
    wanted = copy.deepcopy(replica_set)
    wanted["spec"]["replicas"] = replicas
    count = deployment["spec"]["replicas"]
    wanted["metadata"].setdefault("annotations", {}).update(
        {DESIRED: str(count), MAX_REPLICAS: str(count + _surge(deployment))}
    )
    update(state, replica_set, wanted)


def _revision(deployment: Document) -> str:
    # With the uid: the ReplicaSet of a deleted Deployment may still exist under the same name.
    text = json.dumps(deployment["spec"]["template"], sort_keys=True) + _uid(deployment)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _surge(deployment: Document) -> int:
    return math.ceil(_count(deployment, "maxSurge"))


def _unavailable(deployment: Document, surge: int) -> int:
    return math.floor(_count(deployment, "maxUnavailable")) or (0 if surge else 1)


def _count(deployment: Document, name: str) -> float:
    """Return a number of pods that is given as such or as a share of the replicas."""
    strategy = deployment["spec"]["strategy"]
    if strategy["type"] == "Recreate":  # new pods do not wait here until the old ones have ended
        return 0 if name == "maxSurge" else deployment["spec"]["replicas"]
    given = strategy["rollingUpdate"][name]
    if isinstance(given, int):
        return given
    return float(deployment["spec"]["replicas"] * int(given.removesuffix("%")) / 100)


def _annotation(replica_set: Document, name: str) -> int:
    return int(replica_set["metadata"].get("annotations", {}).get(name, "0"))


def _wanted(replica_set: Document) -> int:
    return int(replica_set["spec"]["replicas"])


def _uid(document: Document) -> str:
    return str(document["metadata"]["uid"])
