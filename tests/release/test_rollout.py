"""`scripts/rollout`, with a simulated cluster."""

import pytest

from release.errors import ReleaseError
from release.rollout import canary_pods, promote, reject, start, step
from release.rollout_state import read_state
from tests.release.simulated_rollout import NAMESPACE, NEW, OLD, Simulation, manifests


def test_release(released: Simulation) -> None:
    """Canary and control pods come beside the stable ones, then all pods run the release."""
    simulated, cluster = released.simulated, released.cluster
    start(cluster, released.write(manifests(NEW, 2)), "azure-2")
    assert released.spec("HorizontalPodAutoscaler")["behavior"]["scaleDown"]["selectPolicy"] == "Disabled"
    for percent, pods in ((10, 1), (50, 5)):
        step(cluster, "azure-2", percent, 0)
        assert simulated.images("canary") == [NEW] * pods
        assert simulated.images("control") == [OLD] * pods
        assert simulated.images() == [OLD] * 10
        assert released.spec("Service")["release"] == OLD
    promote(cluster, "azure-2", 0)
    assert simulated.images() == [NEW] * 20
    assert simulated.images("canary") == simulated.images("control") == []
    assert released.spec("Service")["release"] == NEW
    assert released.spec("HorizontalPodAutoscaler")["behavior"]["scaleDown"]["selectPolicy"] == "Max"
    assert read_state(cluster) is None


def test_first_deployment(simulation: Simulation) -> None:
    """Without stable pods there are no control pods; everything but Deployment and autoscaler comes first."""
    cluster = simulation.cluster
    start(cluster, simulation.write(manifests(NEW, 2)), "azure-2")
    kinds = {key.split("/")[0] for key in simulation.simulated.objects.items}
    assert kinds == {"configmap", "podmonitor", "service", "serviceaccount"}
    step(cluster, "azure-2", 10, 0)
    assert simulation.simulated.images("canary") == [NEW]
    assert simulation.simulated.images("control") == []
    promote(cluster, "azure-2", 0)
    assert simulation.simulated.images() == [NEW] * 10


def test_without_canary(released: Simulation) -> None:
    """A promotion right after the start, as in staging, keeps the number of pods."""
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    promote(released.cluster, "azure-2", 0)
    assert released.simulated.images() == [NEW] * 10


@pytest.mark.parametrize(
    ("stable", "percent", "pods"),
    [(10, 10, 1), (10, 50, 5), (30, 10, 3), (4, 10, 1), (1, 1, 1), (2, 50, 1), (3, 50, 2), (0, 10, 1)],
)
def test_canary_pods(stable: int, percent: int, pods: int) -> None:
    """The number of canary pods is rounded, and at least one."""
    assert canary_pods(stable, percent) == pods


@pytest.mark.parametrize(
    ("running", "new_most", "live_most", "promoted"),
    [(10, 30, 30, 12), (28, 30, 30, 30), (10, 11, 30, 11), (28, 60, 30, 30), (5, 30, 30, 10)],
)
def test_promoted_pods(
    released: Simulation, running: int, new_most: int, live_most: int, promoted: int
) -> None:
    """The promotion has pods for the traffic of all tracks, within the autoscalers' limits."""
    released.change("Deployment", {"spec": {"replicas": running}})
    released.change("HorizontalPodAutoscaler", {"spec": {"maxReplicas": live_most}})
    start(released.cluster, released.write(manifests(NEW, 2, most=new_most)), "azure-2")
    step(released.cluster, "azure-2", 10, 0)
    promote(released.cluster, "azure-2", 0)
    assert released.spec("Deployment")["replicas"] == promoted
    assert released.spec("HorizontalPodAutoscaler")["maxReplicas"] == new_most


def test_scaled_meanwhile(released: Simulation) -> None:
    """Pods that the autoscaler adds during a rollout are counted by the next step and by the promotion."""
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    step(released.cluster, "azure-2", 10, 0)
    released.change("Deployment", {"spec": {"replicas": 20}})
    step(released.cluster, "azure-2", 50, 0)
    assert released.simulated.images("canary") == [NEW] * 10
    promote(released.cluster, "azure-2", 0)
    assert released.spec("Deployment")["replicas"] == 30


def test_scaled_during_promotion(released: Simulation) -> None:
    """The promotion removes no pod that the autoscaler adds while the pods are replaced."""
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    step(released.cluster, "azure-2", 10, 0)

    def fault(number: int, when: str) -> None:
        if released.commands[-1] == "rollout status deployment/demo" and when == "before":
            released.fault = None
            released.change("Deployment", {"spec": {"replicas": 25}})

    released.fault = fault
    promote(released.cluster, "azure-2", 0)
    assert released.spec("Deployment")["replicas"] == 27


def test_no_autoscaler(simulation: Simulation) -> None:
    """Without an autoscaler, the number of pods is that of the manifests after every release."""
    for image, version in ((OLD, 1), (NEW, 2)):
        items = [item for item in manifests(image, version) if item["kind"] != "HorizontalPodAutoscaler"]
        simulation.release(items, f"azure-{version}")
        assert simulation.simulated.images() == [image] * 10


def test_dropped_object(released: Simulation, capsys: pytest.CaptureFixture[str]) -> None:
    """An object that the new release drops stays, and the promotion names it."""
    released.release([item for item in manifests(NEW, 2) if item["kind"] != "PodMonitor"], "azure-2")
    assert "PodMonitor/demo is not part of the new release and stays" in capsys.readouterr().out
    assert released.get("PodMonitor") is not None
    released.release([item for item in manifests(NEW, 2) if item["kind"] != "PodMonitor"], "azure-3")
    assert "PodMonitor" not in capsys.readouterr().out


def test_disabled_autoscaler(released: Simulation) -> None:
    """An autoscaler that removes no pods by its own manifests stays like that."""
    items = manifests(NEW, 2)
    items[3]["spec"]["behavior"]["scaleDown"]["selectPolicy"] = "Disabled"
    released.release(items, "azure-2")
    released.release(items, "azure-3")
    reject(released.cluster, "azure-3")
    assert released.spec("HorizontalPodAutoscaler")["behavior"]["scaleDown"]["selectPolicy"] == "Disabled"


def test_failing_canary(released: Simulation) -> None:
    """A canary that does not become ready fails the step; the stable pods are untouched."""
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    released.simulated.state["fail"] = NEW
    with pytest.raises(ReleaseError, match="kubectl rollout failed: error: timed out"):
        step(released.cluster, "azure-2", 10, 0)
    assert released.simulated.images() == [OLD] * 10


@pytest.mark.parametrize(("track", "pod"), [("canary", "demo-canary-0"), ("stable", "demo-3")])
def test_wrong_model(released: Simulation, track: str, pod: str) -> None:
    """A pod of any track that reports another model than it declares fails the step."""
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    released.reports[pod] = "sha256:" + "9" * 64
    with pytest.raises(ReleaseError, match=f"{pod} declares model sha256:.* but reports sha256:9999"):
        step(released.cluster, "azure-2", 10, 0)


def test_half_rolled_out(released: Simulation) -> None:
    """Stable pods of two images fail the step, which a canary cannot be compared with; nothing changes."""
    before = released.snapshot()
    other = released.simulated.state["pods"][4]["spec"]["containers"][0]
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    other["image"] = "registry.example.com/demo@sha256:" + "3" * 64
    with pytest.raises(ReleaseError, match="stable pods run different images"):
        step(released.cluster, "azure-2", 10, 0)
    reject(released.cluster, "azure-2")
    assert released.snapshot() == before


def test_deleted_by_hand(released: Simulation) -> None:
    """If somebody deletes the stable Deployment, a step refuses to send all requests to the canary."""
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    released.simulated.objects.delete("Deployment", NAMESPACE, "demo")
    with pytest.raises(ReleaseError, match="the Deployment demo in demo-production was deleted"):
        step(released.cluster, "azure-2", 10, 0)
