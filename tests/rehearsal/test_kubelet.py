"""What the rehearsal's kubelet makes of a pod's specification."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.rehearsal.cluster.kubelet import Node, containers_of, resolve, run_options, shared_volumes
from tests.rehearsal.errors import RehearsalError

Document = dict[str, Any]
LIMITS = {"limits": {"cpu": "1", "memory": "512Mi"}}
SPOOL = {"name": "spool", "mountPath": "/capture"}
STORE = {"configMapKeyRef": {"name": "data", "key": "STORE"}}
SPEC: Document = {
    "initContainers": [
        {
            "name": "capture",
            "restartPolicy": "Always",
            "image": "monitor",
            "args": ["ship"],
            "env": [{"name": "CAPTURE_STORE", "valueFrom": STORE}],
            "resources": LIMITS,
            "volumeMounts": [SPOOL],
        }
    ],
    "containers": [
        {
            "name": "demo",
            "image": "service",
            "resources": LIMITS,
            "volumeMounts": [
                SPOOL,
                {"name": "tmp", "mountPath": "/tmp"},
                {"name": "config", "mountPath": "/etc/x", "readOnly": True},
            ],
        }
    ],
    "volumes": [
        {"name": "spool", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "config", "configMap": {"name": "settings", "optional": True}},
    ],
}


def state(**data: dict[str, str]) -> Document:
    """Return a state with ConfigMaps by name."""
    return {"objects": {f"ns/ConfigMap/{name}": {"data": values} for name, values in data.items()}}


def test_run(tmp_path: Path) -> None:
    """The sidecar runs first and shares its volume; a ConfigMap becomes variables and files."""
    known = state(data={"STORE": "http://store"}, settings={"monitor.toml": "min_labels = 1"})
    spec = resolve(known, "ns", SPEC)
    node = Node("network", tmp_path, {"HTTP_PROXY": "http://proxy"})
    assert containers_of("pod", spec) == ["pod-capture", "pod"]
    assert shared_volumes("pod", spec) == {"spool": "pod-spool"}
    sidecar, own = run_options(node, "pod", spec, broken=True)
    assert sidecar[-2:] == ["monitor", "ship"]
    assert own[-1] == "service"
    assert {"HTTP_PROXY=http://proxy", "CAPTURE_STORE=http://store"} <= set(sidecar)
    assert "MODEL_PATH=/nonexistent" in own
    assert "MODEL_PATH=/nonexistent" not in sidecar
    assert {"pod-spool:/capture"} <= set(sidecar) & set(own)
    assert own[own.index("--tmpfs") + 1] == "/tmp"
    (files,) = (Path(each.removesuffix(":/etc/x:ro")) for each in own if each.endswith(":/etc/x:ro"))
    assert (files / "monitor.toml").read_text() == "min_labels = 1"


def test_missing() -> None:
    """A ConfigMap that is missing is an error, unless it is optional."""
    assert resolve(state(data={"STORE": "x"}), "ns", SPEC)["volumes"][2]["files"] == {}
    with pytest.raises(RehearsalError, match="ConfigMap data has no key STORE"):
        resolve(state(data={}), "ns", SPEC)
    required = copy.deepcopy(SPEC)
    del required["volumes"][2]["configMap"]["optional"]
    with pytest.raises(RehearsalError, match="ns has no ConfigMap settings"):
        resolve(state(data={"STORE": "x"}), "ns", required)


def test_unsupported() -> None:
    """An init container that ends is refused: the service would run beside it."""
    spec = copy.deepcopy(SPEC)
    del spec["initContainers"][0]["restartPolicy"]
    with pytest.raises(RehearsalError, match="native sidecars"):
        containers_of("pod", spec)
