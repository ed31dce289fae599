"""The scheduler and the kubelets: nodes, containers, readiness and termination of pods.

A few containers run all pods of a ReplicaSet, because a machine cannot run dozens. Each pod is an object of
its own in the API, and is ready, terminates and receives traffic by itself.
"""

from typing import Any

from tests.rehearsal.cluster.containers import Engine
from tests.rehearsal.cluster.deployments import is_ready
from tests.rehearsal.cluster.kinds import Document
from tests.rehearsal.cluster.kubelet import port_of, resolve
from tests.rehearsal.cluster.objects import key_of, listed, set_status
from tests.rehearsal.cluster.state import SERVICE, State

TRACK, JOB = "example.com/track", "app.kubernetes.io/name"
MAX_CONTAINERS = {"stable": 2, "canary": 1, "control": 1}
ROUTED_NAMESPACE = "demo-production"  # nginx replaces this namespace's Service


def reconcile_pods(state: State, engine: Engine, now: float) -> None:
    """Bring every pod one step closer to running, or to its end."""
    for name, change in engine.changes():
        if change.get("gone"):
            del state["containers"][name]
        else:
            state["containers"][name] |= change
    for pod in listed(state, "Pod"):
        if "deletionTimestamp" in pod["metadata"]:
            _terminate(state, engine, pod, now)
    _schedule(state, engine)
    for pod in listed(state, "Pod"):
        _report(state, pod, now)


def track_of(pod: Document) -> str:
    """Return a pod's track."""
    return str(pod["metadata"]["labels"].get(TRACK, "stable"))


def container_of(state: State, pod: Document) -> dict[str, Any] | None:
    """Return the container that runs a pod, or None."""
    known = state["pods"][pod["metadata"]["uid"]]
    container: dict[str, Any] | None = state["containers"].get(known.get("container", ""))
    return container


def _schedule(state: State, engine: Engine) -> None:
    """Assign pods to the nodes, the oldest first, as far as there is room."""
    pods = listed(state, "Pod")
    room = state["capacity"] - sum("container" in state["pods"][pod["metadata"]["uid"]] for pod in pods)
    for pod in pods:
        if room > 0 and "container" not in state["pods"][pod["metadata"]["uid"]]:
            _assign(state, engine, pod)
            room -= 1


def _assign(state: State, engine: Engine, pod: Document) -> None:
    """Choose the container that runs a pod; start one if the ReplicaSet does not have enough."""
    metadata, known = pod["metadata"], state["pods"][pod["metadata"]["uid"]]
    owner, broken = metadata["ownerReferences"][0]["uid"], known["broken"]
    usable = [
        name
        for name, each in state["containers"].items()
        if (each["owner"], each["broken"], each["stopping"]) == (owner, broken, False)
    ]
    if len(usable) < (1 if broken else MAX_CONTAINERS[track_of(pod)]):
        name = metadata["name"]
        state["containers"][name] = {
            "owner": owner,
            "namespace": metadata["namespace"],
            "job": metadata["labels"].get(JOB, ""),
            "port": port_of(pod["spec"]),
            "track": track_of(pod),
            "broken": broken,
            "address": "",
            "ready": False,
            "exited": False,
            "stopping": False,
        }
        if metadata["namespace"] == ROUTED_NAMESPACE:
            state["tracks"][name] = track_of(pod)
        engine.start(name, resolve(state, metadata["namespace"], pod["spec"]), broken=broken)
    else:
        name = min(usable, key=lambda name: len(_pods_in(state, name)))
    known["container"] = name


def _terminate(state: State, engine: Engine, pod: Document, now: float) -> None:
    """Let a pod answer until its preStop hook has ended, then stop its container if no other pod needs it."""
    known, container = state["pods"][pod["metadata"]["uid"]], container_of(state, pod)
    if container is None:
        _remove(state, pod)
        return
    (spec,) = pod["spec"]["containers"]
    before_s = spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    known.setdefault("stops_at", now + before_s)
    if now < known["stops_at"]:
        return
    if len(_pods_in(state, known["container"])) > 1:
        _remove(state, pod)
    elif not container["stopping"]:
        container["stopping"] = True
        grace_s = pod["spec"].get("terminationGracePeriodSeconds", 30) - before_s
        engine.stop(known["container"], pod["spec"], grace_s)


def _report(state: State, pod: Document, now: float) -> None:
    """Set a pod's status; a terminating pod keeps the one that it had."""
    known, container = state["pods"][pod["metadata"]["uid"]], container_of(state, pod)
    if "deletionTimestamp" in pod["metadata"]:
        return
    if container is None:
        scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        set_status(state, pod, {"phase": "Pending", "conditions": [scheduled]})
        return
    ready = container["ready"] and not container["exited"] and now >= known["ready_after"]
    status: Document = {
        "phase": "Running" if container["address"] else "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "True" if ready else "False"},
        ],
    }
    if container["address"]:
        (spec,) = pod["spec"]["containers"]
        running = {"waiting": {"reason": "CrashLoopBackOff"}} if container["exited"] else {"running": {}}
        status["podIP"] = container["address"]
        status["containerStatuses"] = [
            {"name": spec["name"], "imageID": spec["image"], "ready": ready, "state": running}
        ]
    set_status(state, pod, status)


def endpoints(state: State, namespace: str) -> dict[str, int]:
    """Return the containers that the Service sends traffic to → the number of ready pods that each runs."""
    counts: dict[str, int] = {}
    for pod in listed(state, "Pod", namespace, SERVICE):
        if is_ready(pod):
            name = state["pods"][pod["metadata"]["uid"]]["container"]
            counts[name] = counts.get(name, 0) + 1
    return counts


def _pods_in(state: State, container: str) -> list[Document]:
    pods = listed(state, "Pod")
    return [pod for pod in pods if state["pods"][pod["metadata"]["uid"]].get("container") == container]


def _remove(state: State, pod: Document) -> None:
    del state["objects"][key_of(pod)]
    del state["pods"][pod["metadata"]["uid"]]
