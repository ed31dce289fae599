"""`scripts/rollout`, with a simulated cluster."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from release.cluster import Cluster, documents
from release.errors import ReleaseError
from release.kubernetes import Pod
from release.rollout import canary_pods, promote, reject, start, step
from release.rollout_state import LostRolloutError, read_state
from tests.kubernetes_objects import LAST_APPLIED, KubernetesError, Object, merge_patch
from tests.release.simulated_cluster import SimulatedCluster

NAMESPACE = "demo-production"
COMMIT = "c" * 40
OLD, NEW = (f"registry.example.com/demo@sha256:{digit * 64}" for digit in "12")


class Killed(BaseException):
    """The process was killed."""


def manifests(image: str, version: int, *, replicas: int = 10, most: int = 30) -> list[Object]:
    """Return the objects of a release, as scripts/render prints them."""
    labels = {"app.kubernetes.io/name": "demo", "example.com/track": "stable"}
    pod_labels = labels | {"example.com/model-name": "tiny", "example.com/model-version": str(version)}
    template = {
        "metadata": {
            "labels": pod_labels,
            "annotations": {"example.com/model-digest-sha256": str(version) * 64},
        },
        "spec": {"containers": [{"name": "demo", "image": image}]},
    }
    specs: dict[tuple[str, str], Object] = {
        ("v1", "ServiceAccount"): {},
        ("v1", "Service"): {"spec": {"selector": {"app.kubernetes.io/name": "demo"}, "release": image}},
        ("apps/v1", "Deployment"): {
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        },
        ("autoscaling/v2", "HorizontalPodAutoscaler"): {
            "spec": {
                "minReplicas": replicas,
                "maxReplicas": most,
                "behavior": {"scaleDown": {"selectPolicy": "Max"}},
            }
        },
        ("azmonitoring.coreos.com/v1", "PodMonitor"): {"spec": {"interval": "15s"}},
    }
    metadata = {"name": "demo", "namespace": NAMESPACE}
    found: list[Object] = [
        {"apiVersion": version, "kind": kind, "metadata": dict(metadata)} | rest
        for (version, kind), rest in specs.items()
    ]
    found[2]["metadata"]["annotations"] = {"example.com/commit": COMMIT}
    return found


@dataclass
class Simulation:
    """A simulated cluster and what the commands do with it.

    Attributes:
        commands: the kubectl commands so far, without namespace and options.
        fault: called before each command with its number, and after it; may raise.
        reports: pod → digest that it reports; default: the one that it declares.
    """

    path: Path
    simulated: SimulatedCluster = field(default_factory=SimulatedCluster)
    commands: list[str] = field(default_factory=list)
    fault: Callable[[int, str], None] | None = None
    reports: dict[str, str] = field(default_factory=dict)
    cluster: Cluster = field(default_factory=lambda: Cluster(NAMESPACE))

    def run(self, *command: str, text: str | None = None, **_: Any) -> str:
        """Replace `release.subprocesses.run`."""
        program, *arguments = command
        assert program == "kubectl", command
        number = len(self.commands)
        self.commands.append(" ".join(arguments[: arguments.index("-n")]))
        if self.fault:
            self.fault(number, "before")
        try:
            output = self.simulated.kubectl(*arguments, text=text)
        except KubernetesError as exc:
            raise ReleaseError(f"kubectl {arguments[0]} failed: {exc}") from exc
        if self.fault:
            self.fault(number, "after")
        return output

    def write(self, items: list[Object]) -> Path:
        """Write manifests to a file and return its path."""
        (self.path / "manifests.yaml").write_text(documents(items))
        return self.path / "manifests.yaml"

    def release(self, items: list[Object], run: str = "azure-1") -> None:
        """Roll a release out completely."""
        start(self.cluster, self.write(items), run)
        step(self.cluster, run, 10, 0)
        step(self.cluster, run, 50, 0)
        promote(self.cluster, run, 0)

    def change(self, kind: str, patch: Object) -> None:
        """Change an object, as somebody else does."""
        self.simulated.objects.patch(kind, NAMESPACE, "demo", patch)

    def get(self, kind: str, name: str = "demo") -> Object | None:
        """Return an object."""
        return self.simulated.objects.get(kind, NAMESPACE, name)

    def spec(self, kind: str) -> Any:
        """Return the specification of an object."""
        found = self.get(kind)
        assert found is not None
        return found["spec"]

    def snapshot(self) -> dict[str, Object]:
        """Return all objects, without what a rejection need not restore: numbers of replicas, versions."""
        result = {}
        for key, item in self.simulated.objects.items.items():
            item = json.loads(json.dumps(item))
            item["metadata"].pop("resourceVersion")
            annotations = item["metadata"].get("annotations", {})
            annotations[LAST_APPLIED] = json.loads(annotations.get(LAST_APPLIED, "null"))
            result[key] = merge_patch(item, {"spec": {"replicas": None}} if "spec" in item else {})
            if annotations[LAST_APPLIED]:
                annotations[LAST_APPLIED].get("spec", {}).pop("replicas", None)
        return result


@pytest.fixture
def simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    """A cluster without a release."""
    simulation = Simulation(tmp_path)
    connect(simulation, monkeypatch)
    return simulation


@pytest.fixture
def released(simulation: Simulation) -> Simulation:
    """A cluster in which all ten pods run the old release."""
    simulation.release(manifests(OLD, 1))
    simulation.commands.clear()
    return simulation


def connect(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands use a simulation, and ask its pods instead of forwarding ports."""

    @contextmanager
    def forward_port(namespace: str, pod: Pod) -> Iterator[str]:
        yield pod.name

    def reported(url: str) -> str:
        pods = {pod["metadata"]["name"]: pod for pod in simulation.simulated.state["pods"]}
        if url not in pods:
            raise ReleaseError(f"{url}/model does not answer")
        digest = pods[url]["metadata"]["annotations"]["example.com/model-digest-sha256"]
        return simulation.reports.get(url, f"sha256:{digest}")

    monkeypatch.setattr("release.cluster.run", simulation.run)
    monkeypatch.setattr("release.kubernetes.run", simulation.run)
    monkeypatch.setattr("release.pod_check.forward_port", forward_port)
    monkeypatch.setattr("release.pod_check.read_reported_digest", reported)
    monkeypatch.setattr("release.pod_check._smoke_test", lambda namespace, targets: None)


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


def test_added_object(released: Simulation) -> None:
    """A rejection deletes an object that the promotion has added."""
    before = released.snapshot()
    added = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "demo-two", "namespace": NAMESPACE},
    }
    start(released.cluster, released.write([*manifests(NEW, 2), added]), "azure-2")
    released.simulated.state["fail"] = NEW
    with pytest.raises(ReleaseError, match="timed out"):
        promote(released.cluster, "azure-2", 0)
    assert released.get("Service", "demo-two") is not None
    released.simulated.state["fail"] = ""
    reject(released.cluster, "azure-2")
    assert released.snapshot() == before
    assert released.simulated.images() == [OLD] * 10


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


def test_disabled_autoscaler(released: Simulation) -> None:
    """An autoscaler that removes no pods by its own manifests stays like that."""
    items = manifests(NEW, 2)
    items[3]["spec"]["behavior"]["scaleDown"]["selectPolicy"] = "Disabled"
    released.release(items, "azure-2")
    released.release(items, "azure-3")
    reject(released.cluster, "azure-3")
    assert released.spec("HorizontalPodAutoscaler")["behavior"]["scaleDown"]["selectPolicy"] == "Disabled"


def test_taken_over(released: Simulation) -> None:
    """The commands of a run that another has replaced change nothing."""
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    start(released.cluster, released.write(manifests(NEW, 3)), "azure-3")
    step(released.cluster, "azure-3", 10, 0)
    before = released.snapshot()
    lost: list[Callable[[], None]] = [
        lambda: step(released.cluster, "azure-2", 50, 0),
        lambda: promote(released.cluster, "azure-2", 0),
        lambda: reject(released.cluster, "azure-2"),
    ]
    for command in lost:
        with pytest.raises(LostRolloutError, match="belongs to azure-3, not to azure-2"):
            command()
    assert released.snapshot() == before


def test_taken_over_in_between(released: Simulation) -> None:
    """After another run took over, a promotion executes at most the one command that was on its way."""
    for number in range(100):
        start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
        step(released.cluster, "azure-2", 10, 0)
        released.commands.clear()
        position = 0

        def fault(at: int, when: str, wanted: int = number) -> None:
            nonlocal position
            if (at, when) == (wanted, "after"):
                released.fault = None
                start(released.cluster, released.write(manifests(NEW, 3)), "azure-3")
                position = len(released.commands)

        released.fault = fault
        try:
            promote(released.cluster, "azure-2", 0)
        except ReleaseError:
            pass
        else:
            assert number > 10
            return
        changes = [name for name in released.commands[position:] if name.split()[0] not in ("get", "rollout")]
        assert len(changes) <= 1, (number, changes)
        state = read_state(released.cluster)
        assert state
        assert state.run == "azure-3", number
    pytest.fail("the promotion has more than 100 commands")


# A command fails without effect; or the process is killed before or after it.
FAULTS = [(ReleaseError, "before"), (Killed, "before"), (Killed, "after")]


def commands(simulation: Simulation, run: str) -> None:
    """Roll the new release out."""
    simulation.release([*manifests(NEW, 2), ADDED], run)


ADDED = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo-two", "namespace": NAMESPACE}}


@pytest.mark.parametrize(("error", "when"), FAULTS)
@pytest.mark.parametrize("first", [False, True], ids=["", "first deployment"])
def test_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, error: type[BaseException], first: bool
) -> None:
    """If any kubectl command fails, or the process is killed there, a rejection restores the cluster.

    So does the start of another run, whose own rejection, or release, then succeeds.
    """
    begin = Simulation(tmp_path)
    connect(begin, monkeypatch)
    if not first:
        begin.release(manifests(OLD, 1))
    for number in range(200):
        for recovery in ("reject", ("start and reject", "start and release")[number % 2]):
            simulation = Simulation(tmp_path, SimulatedCluster(deepcopy(begin.simulated.state)))
            connect(simulation, monkeypatch)
            before = simulation.snapshot()

            def fault(at: int, then: str, wanted: int = number) -> None:
                if (at, then) == (wanted, when):
                    raise error("the fault")

            simulation.fault = fault
            try:
                commands(simulation, "azure-2")
            except (ReleaseError, Killed):
                pass
            else:
                assert number > 40
                return
            simulation.fault = None
            where = (number, simulation.commands[-1], recovery)
            done = read_state(simulation.cluster) is None and set(simulation.simulated.images()) == {NEW}
            if recovery == "reject":
                reject(simulation.cluster, "azure-2")
            else:
                start(simulation.cluster, simulation.write([*manifests(NEW, 3), ADDED]), "azure-3")
                with pytest.raises(LostRolloutError):
                    reject(simulation.cluster, "azure-2")
                if recovery == "start and release":
                    step(simulation.cluster, "azure-3", 10, 0)
                    promote(simulation.cluster, "azure-3", 0)
                    assert set(simulation.simulated.images()) == {NEW}, where
                else:
                    reject(simulation.cluster, "azure-3")
            owned = {pod["metadata"]["deployment"] for pod in simulation.simulated.state["pods"]}
            assert owned <= {"demo"}, where
            assert read_state(simulation.cluster) is None, where
            autoscaler = simulation.get("HorizontalPodAutoscaler")
            if autoscaler:
                assert autoscaler["spec"]["behavior"]["scaleDown"]["selectPolicy"] == "Max", where
            # The last command forgets the state of a finished promotion: there is nothing to restore.
            if recovery != "start and release" and not done:
                assert simulation.snapshot() == before, where
                assert set(simulation.simulated.images()) == (set() if first else {OLD}), where


@pytest.mark.parametrize(("error", "when"), FAULTS)
@pytest.mark.parametrize("promoted", [False, True], ids=["canary", "promoting"])
def test_fault_while_rejecting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, error: type[BaseException], promoted: bool
) -> None:
    """If any kubectl command of a rejection fails, or it is killed there, a second one completes it."""
    for number in range(50):
        simulation = Simulation(tmp_path)
        connect(simulation, monkeypatch)
        simulation.release(manifests(OLD, 1))
        before = simulation.snapshot()
        start(simulation.cluster, simulation.write([*manifests(NEW, 2), ADDED]), "azure-2")
        step(simulation.cluster, "azure-2", 50, 0)
        if promoted:
            simulation.simulated.state["fail"] = NEW
            with pytest.raises(ReleaseError):
                promote(simulation.cluster, "azure-2", 0)
            simulation.simulated.state["fail"] = ""
        simulation.commands.clear()

        def fault(at: int, then: str, wanted: int = number) -> None:
            if (at, then) == (wanted, when):
                raise error("the fault")

        simulation.fault = fault
        failed = True
        try:
            reject(simulation.cluster, "azure-2")
            failed = False
        except (ReleaseError, Killed):
            pass
        simulation.fault = None
        if failed:
            reject(simulation.cluster, "azure-2")
        assert simulation.snapshot() == before, (number, simulation.commands)
        if not failed:
            assert number > 5
            return
    pytest.fail("the rejection has more than 50 commands")


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


def test_changed_by_hand(released: Simulation) -> None:
    """Before a promotion, a rejection leaves what somebody else changes in the stable Deployment."""
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    released.change("Deployment", {"spec": {"replicas": 14, "paused": False}})
    reject(released.cluster, "azure-2")
    assert released.spec("Deployment")["replicas"] == 14
    assert released.spec("Deployment")["paused"] is False


def test_deleted_by_hand(released: Simulation) -> None:
    """If somebody deletes the stable Deployment, a step refuses to send all requests to the canary."""
    start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    released.simulated.objects.delete("Deployment", NAMESPACE, "demo")
    with pytest.raises(ReleaseError, match="the Deployment demo in demo-production was deleted"):
        step(released.cluster, "azure-2", 10, 0)


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


def test_selector(released: Simulation) -> None:
    """A Deployment with another selector cannot be replaced; the message says what to do."""
    released.change("Deployment", {"spec": {"selector": {"matchLabels": {"example.com/track": None}}}})
    with pytest.raises(ReleaseError, match=r"a selector cannot change: run kubectl .* --cascade=orphan"):
        start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")
    assert read_state(released.cluster) is None


def test_older_model(released: Simulation) -> None:
    """From the same commit, a model of a lower version is refused, and nothing changes."""
    released.release(manifests(NEW, 3), "azure-2")
    before = released.snapshot()
    with pytest.raises(ReleaseError, match="model tiny/2 is older than tiny/3, which runs"):
        start(released.cluster, released.write(manifests(OLD, 2)), "azure-3")
    assert released.snapshot() == before


def test_two_starts(released: Simulation) -> None:
    """If another run starts between the check and the write of the state, the later start takes over."""

    def fault(number: int, when: str) -> None:
        if released.commands[-1] == "create" and when == "before":
            released.fault = None
            start(released.cluster, released.write(manifests(NEW, 2)), "azure-2")

    released.fault = fault
    start(released.cluster, released.write(manifests(NEW, 3)), "azure-3")
    state = read_state(released.cluster)
    assert state is not None
    assert state.run == "azure-3"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"metadata": {"namespace": "demo-staging"}},
            "is in demo-staging, expected demo-production",
        ),
        ({"metadata": None}, "object 3 is not a Kubernetes object"),
        ({"metadata": {"name": 1}}, "object 3 is not a Kubernetes object"),
        ({"kind": None}, "object 3 is not a Kubernetes object"),
        ({"kind": "Service"}, "has Service/demo more than once"),
        ({"kind": "StatefulSet"}, "the manifests have no Deployment demo"),
        ({"metadata": {"annotations": None}}, "has no annotation example.com/commit"),
        ({"spec": None}, "has no selector, labels, image or replicas"),
        ({"spec": {"replicas": 0}}, "expected one replica or more, got 0"),
        ({"spec": {"selector": {"matchLabels": {"example.com/track": "canary"}}}}, "need the label"),
        (
            {"spec": {"template": {"spec": {"containers": [{"name": "demo", "image": "demo:1"}]}}}},
            "expected an image by digest, REPOSITORY@sha256:…, got 'demo:1'",
        ),
    ],
)
def test_invalid_manifests(released: Simulation, change: Object, message: str) -> None:
    """Manifests that cannot be rolled out are refused, and nothing changes."""
    before = released.snapshot()
    items = manifests(NEW, 2)
    items[2] = merge_patch(items[2], change)
    with pytest.raises(ReleaseError, match=re.escape(message)):
        start(released.cluster, released.write(items), "azure-2")
    assert released.snapshot() == before


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), (b"{", "is not YAML"), (b"\xff", "cannot be read")]
)
def test_invalid_file(released: Simulation, content: bytes | None, message: str) -> None:
    """A file that cannot be read is an error before anything changes."""
    path = released.path / "other.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReleaseError, match=message):
        start(released.cluster, path, "azure-2")
    assert released.commands == []


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
