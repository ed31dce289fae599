"""The ReplicaSet controller, the autoscaler and the garbage collector."""

import copy
import math
import os

from tests.rehearsal.cluster.deployments import active_pods, is_ready
from tests.rehearsal.cluster.kinds import Document
from tests.rehearsal.cluster.objects import (
    FOREGROUND,
    create,
    dependents,
    key_of,
    listed,
    mark_deleted,
    owned,
    update,
)
from tests.rehearsal.cluster.state import SERVICE, State


def reconcile_replica_sets(state: State, now: float) -> None:
    """Create and delete pods until every ReplicaSet has as many as it should."""
    for replica_set in listed(state, "ReplicaSet"):
        if "deletionTimestamp" in replica_set["metadata"]:
            continue
        pods = active_pods(state, replica_set)
        for _ in range(replica_set["spec"]["replicas"] - len(pods)):
            _create_pod(state, replica_set, now)
        surplus = len(pods) - replica_set["spec"]["replicas"]
        # As in Kubernetes: first those without a node, then those that are not ready, then the newest.
        newest_first = pods[::-1]
        newest_first.sort(key=lambda pod: (pod["status"]["phase"] != "Pending", is_ready(pod)))
        for pod in newest_first[: max(0, surplus)]:
            mark_deleted(state, pod)


def autoscale(state: State) -> None:
    """Set the replicas of Deployments as the load that a scenario has set requires.

    The load is a number of pods, over which the Service spreads it, canary and control pods included. Without
    a load, a Deployment is only kept within the autoscaler's limits. There are no stabilization windows.
    """
    for autoscaler in listed(state, "HorizontalPodAutoscaler"):
        spec, namespace = autoscaler["spec"], autoscaler["metadata"]["namespace"]
        name = spec["scaleTargetRef"]["name"]
        deployment = state["objects"].get(f"{namespace}/Deployment/{name}")
        if deployment is None or not deployment["spec"]["replicas"]:
            continue
        replicas = deployment["spec"]["replicas"]
        wanted = replicas
        if (load := state["load"].get(f"{namespace}/{name}")) is not None:
            ready = [pod for pod in listed(state, "Pod", namespace, SERVICE) if is_ready(pod)]
            selector = deployment["spec"]["selector"]["matchLabels"].items()
            own = sum(selector <= pod["metadata"]["labels"].items() for pod in ready)
            wanted = math.ceil(load * own / len(ready)) if own else replicas
        wanted = min(max(wanted, spec["minReplicas"]), spec["maxReplicas"])
        rules = spec.get("behavior", {}).get("scaleUp" if wanted > replicas else "scaleDown", {})
        if wanted != replicas and rules.get("selectPolicy") != "Disabled":
            changed = copy.deepcopy(deployment)
            changed["spec"]["replicas"] = wanted
            update(state, deployment, changed)


def collect_garbage(state: State) -> None:
    """Delete what has no owner left, and finish deletions that wait for what they own."""
    uids = {each["metadata"]["uid"] for each in state["objects"].values()}
    for each in [each for kind in ("Deployment", "ReplicaSet", "Pod") for each in listed(state, kind)]:
        references = each["metadata"].get("ownerReferences", [])
        if references and not any(reference["uid"] in uids for reference in references):
            mark_deleted(state, each)
        if each["metadata"].get("finalizers") == [FOREGROUND]:
            left = list(dependents(state, each))
            for dependent in left:
                mark_deleted(state, dependent)
            if not left:
                del state["objects"][key_of(each)]


def _create_pod(state: State, replica_set: Document, now: float) -> None:
    metadata, template = replica_set["metadata"], replica_set["spec"]["template"]
    owner, namespace = metadata["ownerReferences"][0]["name"], metadata["namespace"]
    pod = create(
        state,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": copy.deepcopy(template["metadata"])
            | {"name": f"{metadata['name']}-{os.urandom(3).hex()}", "namespace": namespace},
            "spec": copy.deepcopy(template["spec"]),
            "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]},
        },
        replica_set,
    )
    earlier = len(owned(state, replica_set, "Pod")) - 1
    state["pods"][pod["metadata"]["uid"]] = {
        "ready_after": now + state["slow"].get(f"{namespace}/{owner}", 0.0),
        "broken": earlier >= state["broken"].get(metadata["uid"], math.inf),
    }
