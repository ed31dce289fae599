"""`scripts/rollout reject`: the cluster is as it was before the release."""

from collections.abc import Callable

import pytest

from release.errors import ReleaseError
from release.rollout import promote, reject, start, step
from release.rollout_state import LostRolloutError, read_state
from tests.release.simulated_rollout import ADDED, NAMESPACE, NEW, OLD, Simulation, manifests


@pytest.mark.parametrize("owner", ["azure-2", "azure-3"])
def test_reject(released: Simulation, owner: str) -> None:
    """A rejection, or the start of another run, removes the canary and releases the autoscaler."""
    before = released.snapshot()
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    step(released.cluster, "azure-2", 10, 0)
    if owner != "azure-2":
        start(released.cluster, released.write(manifests(NEW, 2)), owner)
    reject(released.cluster, owner)
    assert released.snapshot() == before
    assert {pod["metadata"]["deployment"] for pod in released.simulated.state["pods"]} == {"demo"}


def test_reject_deletes_first(released: Simulation) -> None:
    """A rejection begins with the deletion, and continues if it fails."""
    before = released.snapshot()
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    step(released.cluster, "azure-2", 10, 0)
    released.commands.clear()

    def fault(number: int, when: str) -> None:
        if released.commands[-1].startswith("delete deployment"):
            raise ReleaseError("timed out")

    released.fault = fault
    with pytest.raises(ReleaseError, match=r"timed out\. Run scripts/rollout reject .*demo-production again"):
        reject(released.cluster, "azure-2")
    assert released.commands[:2] == [
        "get configmap demo-rollout",
        "delete deployment demo-canary demo-control",
    ]
    assert released.spec("HorizontalPodAutoscaler")["behavior"]["scaleDown"]["selectPolicy"] == "Max"
    released.fault = None
    reject(released.cluster, "azure-2")
    assert released.snapshot() == before


def test_nothing_to_reject(released: Simulation) -> None:
    """With nothing to reject, a rejection changes nothing, also after a promotion."""
    before = released.snapshot()
    for run in ("azure-1", "azure-9"):
        reject(released.cluster, run)
    assert released.snapshot() == before


def test_started_while_nothing_is_rejected(released: Simulation) -> None:
    """A rollout that starts while a clean-up finds nothing to reject keeps its autoscaler held."""

    def fault(number: int, when: str) -> None:
        if released.commands[-1].startswith("delete deployment") and when == "after":
            released.fault = None
            start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")

    released.fault = fault
    reject(released.cluster, "azure-1")
    assert released.spec("HorizontalPodAutoscaler")["behavior"]["scaleDown"]["selectPolicy"] == "Disabled"


def test_canary_without_state(released: Simulation) -> None:
    """A canary without a ConfigMap is deleted, and its hold of the autoscaler ends."""
    before = released.snapshot()
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    step(released.cluster, "azure-2", 10, 0)
    released.simulated.objects.delete("ConfigMap", NAMESPACE, "demo-rollout")
    lost: list[Callable[[], None]] = [
        lambda: step(released.cluster, "azure-2", 50, 0),
        lambda: promote(released.cluster, "azure-2", 0),
    ]
    for command in lost:
        with pytest.raises(LostRolloutError, match="no rollout is in progress"):
            command()
    reject(released.cluster, "azure-2")
    assert released.snapshot() == before


def test_added_object(released: Simulation) -> None:
    """A rejection deletes an object that the promotion has added."""
    before = released.snapshot()
    start(released.cluster, released.write([*manifests(NEW, 2), ADDED]), "azure-2")
    released.simulated.state["fail"] = NEW
    with pytest.raises(ReleaseError, match="timed out"):
        promote(released.cluster, "azure-2", 0)
    assert released.get("Service", "demo-two") is not None
    released.simulated.state["fail"] = ""
    reject(released.cluster, "azure-2")
    assert released.snapshot() == before
    assert released.simulated.images() == [OLD] * 10


def test_never_applied(released: Simulation) -> None:
    """An object that was not applied by kubectl is restored as it was."""
    item = released.simulated.objects.items["service/demo-production/demo"]
    item["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "3", "team": "wine"}
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    released.simulated.state["fail"] = NEW
    with pytest.raises(ReleaseError):
        promote(released.cluster, "azure-2", 0)
    released.simulated.state["fail"] = ""
    reject(released.cluster, "azure-2")
    assert released.spec("Service") == {"selector": {"app.kubernetes.io/name": "demo"}, "release": OLD}
    service = released.get("Service")
    assert service is not None
    assert service["metadata"]["annotations"]["team"] == "wine"


def test_changed_by_hand(released: Simulation) -> None:
    """Before a promotion, a rejection leaves what somebody else changes in the stable Deployment."""
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    released.change("Deployment", {"spec": {"replicas": 14, "paused": False}})
    reject(released.cluster, "azure-2")
    assert released.spec("Deployment")["replicas"] == 14
    assert released.spec("Deployment")["paused"] is False


def test_broken_release_restored(released: Simulation) -> None:
    """If the restored pods do not become ready, the rejection says so, once; a fix can start."""
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    released.simulated.state["fail"] = "demo@sha256"
    failing: list[Callable[[], None]] = [
        lambda: promote(released.cluster, "azure-2", 0),
        lambda: reject(released.cluster, "azure-2"),
    ]
    for command in failing:
        with pytest.raises(ReleaseError, match="timed out"):
            command()
    assert released.spec("Service")["release"] == OLD
    assert read_state(released.cluster) is None
    start(released.cluster, released.write(manifests(NEW, 3)), "azure-3")


def test_invalid_state(released: Simulation) -> None:
    """A ConfigMap that is not a rollout's state is an error that says what to do."""
    metadata = {"name": "demo-rollout", "namespace": NAMESPACE}
    released.simulated.objects.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}}
    )
    with pytest.raises(
        ReleaseError, match=r"is not a rollout's state: KeyError.*; run kubectl .* delete configmap"
    ):
        reject(released.cluster, "azure-2")
