"""The cluster's state: one JSON file in a directory, shared by all processes that use the directory."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

State = dict[str, Any]
# objects: `NAMESPACE/KIND/NAME` → object, as the API server stores it
# containers: name → what runs it, see pods.py; pods: pod's uid → what the kubelet knows about it
# roles: see permissions.py; faults: see faults.py; progress: Deployment's uid → see deployments.py
# load, slow, broken: what a scenario has set, by `NAMESPACE/NAME` of the Deployment
# tracks: container → track, of all production containers that ever existed
# capacity: pods that the nodes have room for; deadline_s: seconds without progress until a rollout has failed
# version: the last resourceVersion; error: of the control plane
MAPPINGS = ("objects", "containers", "pods", "roles", "progress", "load", "slow", "broken", "tracks")
SERVICE = {"app.kubernetes.io/name": "demo"}  # labels of the pods that the Service selects
CAPACITY = 64
DEADLINE_S = 120.0
EMPTY: State = {
    **{name: {} for name in MAPPINGS},
    "faults": [],
    "capacity": CAPACITY,
    "deadline_s": DEADLINE_S,
    "version": 0,
    "error": "",
}


@contextmanager
def locked(directory: Path) -> Iterator[State]:
    """Lock and yield the state; save it when the block ends without an exception.

    The file is replaced in one step, because a scenario may kill a process at any time.
    """
    path = directory / "state.json"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = path.read_text() if path.exists() else json.dumps(EMPTY)
        state: State = json.loads(before)
        yield state
        after = json.dumps(state)
        if after != before or not path.exists():
            partial = path.with_suffix(".partial")
            partial.write_text(after)
            partial.replace(path)
