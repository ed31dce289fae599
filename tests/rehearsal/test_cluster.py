"""Tests of the rehearsal's cluster without containers, through its kubectl."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.names import write_into
from tests.rehearsal.cluster.cluster import Cluster
from tests.rehearsal.cluster.deployments import is_ready
from tests.rehearsal.cluster.faults import Fault
from tests.rehearsal.cluster.objects import LAST_APPLIED, listed
from tests.rehearsal.cluster.state import State, locked
from tests.rehearsal.kubectl import main

ROOT = Path(__file__).parents[2]
NAMESPACE = "demo-production"
TRACK = "example.com/track"
KINDS = ("deployments", "replicasets", "configmaps", "horizontalpodautoscalers", "pods", "pods/portforward")
GROUPS = ["", "apps", "autoscaling"]
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete"]

Document = dict[str, Any]


@dataclass(frozen=True)
class Kubectl:
    """Calls kubectl in this process, and returns exit code, output and errors."""

    namespace: str = NAMESPACE

    def __call__(self, *args: str, text: object = None) -> tuple[int, str, str]:
        """Run a command; `text` is its stdin, as JSON unless it is text already."""
        given = text if isinstance(text, str) else json.dumps(text)
        out, err = io.StringIO(), io.StringIO()
        stdin, sys.stdin = sys.stdin, io.StringIO(given)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main([*args, "-n", self.namespace])
        finally:
            sys.stdin = stdin
        return code, out.getvalue(), err.getvalue()

    def ok(self, *args: str, text: object = None) -> str:
        """Run a command that must succeed, and return what it prints."""
        code, out, err = self(*args, text=text)
        assert code == 0, err
        return out

    def get(self, kind: str, name: str) -> Document:
        """Return an object; empty if there is none."""
        text = self.ok("get", kind, name, "--ignore-not-found", "-o", "json")
        document: Document = json.loads(text) if text else {}
        return document


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A running cluster whose Roles allow everything to the pipeline, and only listing pods to record."""
    monkeypatch.setenv("REHEARSAL_CLUSTER", str(tmp_path))
    monkeypatch.setenv("REHEARSAL_IDENTITY", "")
    roles = tmp_path / "roles.yaml"
    documents = [
        role("pipeline", {"apiGroups": GROUPS, "resources": list(KINDS), "verbs": VERBS}),
        role("reader", {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}),
    ]
    roles.write_text("\n---\n".join(json.dumps(document) for document in documents))
    cluster = Cluster(tmp_path)
    with cluster.running(roles):
        yield cluster


@pytest.fixture
def kubectl(cluster: Cluster) -> Kubectl:
    """A kubectl for the running cluster."""
    return Kubectl()


def role(name: str, *rules: Document) -> Document:
    """Return a Role."""
    return {"kind": "Role", "metadata": {"name": name, "namespace": NAMESPACE}, "rules": list(rules)}


def deployment(image: str = "one", replicas: int = 4, track: str = "stable", **more: object) -> Document:
    """Return the manifest of a Deployment; `more` are fields of its specification."""
    labels = {"app.kubernetes.io/name": "demo", TRACK: track}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "demo" if track == "stable" else f"demo-{track}"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "demo", "image": image}]},
            },
            **more,
        },
    }


def autoscaler(**more: object) -> Document:
    """Return the manifest of an autoscaler for 4 to 8 pods; `more` are its rules for scaling down."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "demo"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "demo"},
            "minReplicas": 4,
            "maxReplicas": 8,
            "behavior": {"scaleDown": more} if more else {},
        },
    }


def config(value: str, **metadata: str) -> Document:
    """Return a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "state", **metadata},
        "data": {"value": value},
    }


def roll_out(kubectl: Kubectl, document: Document) -> str:
    """Apply a Deployment, wait for its rollout, and return what `rollout status` printed."""
    kubectl.ok("apply", "-f", "-", text=document)
    name = document["metadata"]["name"]
    return kubectl.ok("rollout", "status", f"deployment/{name}", "--timeout=10s")


def ready_pods(state: State, image: str = "") -> list[Document]:
    """Return the pods that are ready, and have this image if one is given."""
    pods = [pod for pod in listed(state, "Pod", NAMESPACE) if is_ready(pod)]
    return [pod for pod in pods if image in ("", pod["spec"]["containers"][0]["image"])]


def has_pods(count: int, image: str = "") -> Callable[[State], bool]:
    """Return a condition: exactly so many pods are ready."""
    return lambda state: len(ready_pods(state, image)) == count


# Objects


def test_create_and_replace(kubectl: Kubectl) -> None:
    """Creating twice fails, and replacing succeeds only with the latest resourceVersion."""
    assert kubectl.ok("create", "-f", "-", text=config("a")) == "configmap/state created\n"
    code, _, err = kubectl("create", "-f", "-", text=config("b"))
    assert (code, "AlreadyExists" in err) == (1, True)
    found = kubectl.get("configmap", "state")
    kubectl.ok("replace", "-f", "-", text=found | {"data": {"value": "c"}})
    code, _, err = kubectl("replace", "-f", "-", text=found | {"data": {"value": "d"}})
    assert code == 1
    assert 'Error from server (Conflict): error when replacing "STDIN": Operation cannot be fulfilled' in err
    assert kubectl.get("configmap", "state")["data"] == {"value": "c"}


def test_replace_of_another_object(kubectl: Kubectl) -> None:
    """An object that was deleted and created again is another one, by its uid."""
    kubectl.ok("create", "-f", "-", text=config("a"))
    found = kubectl.get("configmap", "state")
    kubectl.ok("delete", "configmap", "state")
    assert "NotFound" in kubectl("replace", "-f", "-", text=found)[2]
    kubectl.ok("create", "-f", "-", text=config("b"))
    del found["metadata"]["resourceVersion"]
    assert "UID in precondition" in kubectl("replace", "-f", "-", text=found)[2]


def test_apply(kubectl: Kubectl) -> None:
    """Applying merges: it sets what is new, deletes what is gone, and keeps what somebody else has set."""
    first = deployment(minReadySeconds=1)
    assert kubectl.ok("apply", "-f", "-", text=first) == "deployment.apps/demo created\n"
    patch = json.dumps({"metadata": {"annotations": {"by": "a person"}}})
    kubectl.ok("patch", "deployment", "demo", "--type", "merge", "-p", patch)
    second = deployment("two")
    second["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
    assert kubectl.ok("apply", "-f", "-", text=second) == "deployment.apps/demo configured\n"
    assert kubectl.ok("apply", "-f", "-", text=second) == "deployment.apps/demo unchanged\n"
    found = kubectl.get("deployment", "demo")
    assert "minReadySeconds" not in found["spec"]
    assert found["metadata"]["annotations"]["by"] == "a person"
    assert found["metadata"]["generation"] == 2
    assert json.loads(found["metadata"]["annotations"][LAST_APPLIED])["spec"] == second["spec"]
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "two"


def test_apply_keeps_the_autoscaler_held(kubectl: Kubectl) -> None:
    """A field that only a patch has set outlives `apply`, unless the manifest names it."""
    kubectl.ok("apply", "-f", "-", text=autoscaler(stabilizationWindowSeconds=300))
    held = json.dumps({"spec": {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}})
    kubectl.ok("patch", "hpa", "demo", "--type", "merge", "-p", held)
    kubectl.ok("apply", "-f", "-", text=autoscaler(stabilizationWindowSeconds=300))
    assert kubectl.get("hpa", "demo")["spec"]["behavior"]["scaleDown"]["selectPolicy"] == "Disabled"
    kubectl.ok("apply", "-f", "-", text=autoscaler(selectPolicy="Max"))
    assert kubectl.get("hpa", "demo")["spec"]["behavior"]["scaleDown"]["selectPolicy"] == "Max"


def test_apply_continues_after_an_error(kubectl: Kubectl) -> None:
    """If one object of several is invalid, the others are applied, and the exit code is 1."""
    kubectl.ok("apply", "-f", "-", text=deployment())
    other = deployment("two")
    other["spec"]["selector"] = {"matchLabels": {"app.kubernetes.io/name": "demo"}}
    code, out, err = kubectl(
        "apply", "-f", "-", text={"kind": "List", "apiVersion": "v1", "items": [other, config("a")]}
    )
    assert (code, out) == (1, "configmap/state created\n")
    assert err.startswith('The Deployment.apps "demo" is invalid: spec.selector: Invalid value:')
    assert "field is immutable" in err


def test_wrong_namespace(kubectl: Kubectl) -> None:
    """An object of another namespace than the command's is rejected."""
    code, _, err = kubectl("apply", "-f", "-", text=config("a", namespace="demo-staging"))
    assert (code, "does not match the namespace" in err) == (1, True)


# Permissions


@pytest.mark.parametrize(
    ("identity", "command", "missing"),
    [
        ("demo-record", ("get", "deployment", "demo", "-o", "json"), "get resource"),
        ("demo-record", ("delete", "deployment", "demo"), "delete resource"),
        ("demo-staging", ("get", "pods", "-o", "json"), "list resource"),
        ("demo-build", ("get", "pods", "-o", "json"), "list resource"),
        ("", ("apply", "-f", "-"), "get resource"),
    ],
    ids=["read", "delete", "namespace", "unknown", "kind"],
)
def test_forbidden(
    kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, identity: str, command: tuple[str, ...], missing: str
) -> None:
    """A request that the identity's Role does not allow fails as the API server lets it."""
    monkeypatch.setenv("REHEARSAL_IDENTITY", identity)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo"}, "spec": {}}
    code, _, err = kubectl(*command, text=service)
    assert code == 1
    assert "Error from server (Forbidden)" in err
    assert f"cannot {missing}" in err


def test_allowed(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    """The identity that records may list pods."""
    monkeypatch.setenv("REHEARSAL_IDENTITY", "demo-record")
    assert json.loads(kubectl.ok("get", "pods", "-o", "json"))["items"] == []


def test_the_pipelines_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Role in deploy/azure/cluster.yaml lets the pipeline apply each object of an overlay."""
    monkeypatch.setenv("REHEARSAL_CLUSTER", str(tmp_path))
    monkeypatch.setenv("REHEARSAL_IDENTITY", "demo-production")
    write_into(tmp_path / "named", [ROOT / "deploy/base", ROOT / "deploy/overlays"])
    overlay = tmp_path / "named/overlays/production"
    manifests = subprocess.check_output(["kubectl", "kustomize", overlay])
    with Cluster(tmp_path).running(ROOT / "deploy/azure/cluster.yaml"):
        printed = Kubectl().ok("apply", "-f", "-", text=manifests.decode())
    assert printed.count(" created\n") == 8


# Deployments


def test_rollout(cluster: Cluster, kubectl: Kubectl) -> None:
    """A rollout never has fewer ready pods than replicas, nor more pods than the surge allows."""
    roll_out(kubectl, deployment(replicas=8))
    kubectl.ok("apply", "-f", "-", text=deployment("two", replicas=8))
    seen = set()
    while not has_pods(8, "two")(state := read(cluster)):
        active = [pod for pod in listed(state, "Pod") if "deletionTimestamp" not in pod["metadata"]]
        seen.add(len(active))
        assert len(ready_pods(state)) >= 8
        time.sleep(0.05)
    assert max(seen) == 10
    kubectl.ok("rollout", "status", "deployment/demo", "--timeout=5s")
    assert kubectl.get("deployment", "demo")["status"]["updatedReplicas"] == 8


def test_status_prints_progress(cluster: Cluster, kubectl: Kubectl) -> None:
    """`rollout status` waits for slow pods and says what it waits for; `apply` does not wait."""
    cluster.delay_readiness("demo", 1.0)
    start = time.monotonic()
    kubectl.ok("apply", "-f", "-", text=deployment())
    assert time.monotonic() - start < 0.5
    out = kubectl.ok("rollout", "status", "deployment/demo", "--timeout=10s")
    assert "rollout to finish: 0 of 4 updated replicas are available" in out
    assert out.endswith('deployment "demo" successfully rolled out\n')


def test_status_times_out(cluster: Cluster, kubectl: Kubectl) -> None:
    """`rollout status` ends with an error after its time-out."""
    cluster.delay_readiness("demo", 60)
    kubectl.ok("apply", "-f", "-", text=deployment())
    code, _, err = kubectl("rollout", "status", "deployment/demo", "--timeout=1s")
    assert (code, err) == (1, "error: timed out waiting for the condition\n")


def test_failing_pods(cluster: Cluster, kubectl: Kubectl) -> None:
    """A rollout whose later pods fail exceeds its deadline; applying the old manifest rolls it back."""
    roll_out(kubectl, deployment())
    cluster.fail_next(1)
    with locked(cluster.directory) as state:
        state["deadline_s"] = 2.0
    kubectl.ok("apply", "-f", "-", text=deployment("two"))
    code, _, err = kubectl("rollout", "status", "deployment/demo", "--timeout=10s")
    assert (code, err) == (1, 'error: deployment "demo" exceeded its progress deadline\n')
    assert len(ready_pods(read(cluster))) == 4
    assert len(ready_pods(read(cluster), "two")) == 1
    roll_out(kubectl, deployment())
    assert has_pods(4, "one")(read(cluster))


def test_scaled_with_a_new_template(cluster: Cluster, kubectl: Kubectl) -> None:
    """As in Kubernetes, a change of template and replicas first scales the pods of the old template."""
    roll_out(kubectl, deployment(replicas=4))
    cluster.delay_readiness("demo", 0.5)
    kubectl.ok("apply", "-f", "-", text=deployment("two", replicas=8))
    cluster.wait_until(has_pods(8, "one"), 5, "eight pods of the old template")
    cluster.wait_until(has_pods(8, "two"), 10, "eight pods of the new template")


def test_full_nodes(cluster: Cluster, kubectl: Kubectl) -> None:
    """Pods beyond the nodes' capacity are Pending, and start when there is room again."""
    cluster.set_capacity(5)
    roll_out(kubectl, deployment())
    kubectl.ok("apply", "-f", "-", text=deployment(replicas=2, track="canary"))
    code, _, err = kubectl("rollout", "status", "deployment/demo-canary", "--timeout=1s")
    assert (code, "timed out" in err) == (1, True)
    pods = json.loads(kubectl.ok("get", "pods", "-l", f"{TRACK}=canary", "-o", "json"))["items"]
    assert sorted(pod["status"]["phase"] for pod in pods) == ["Pending", "Running"]
    cluster.set_capacity(6)
    kubectl.ok("rollout", "status", "deployment/demo-canary", "--timeout=5s")


@pytest.mark.parametrize("cascade", ["foreground", "background"])
def test_delete(cluster: Cluster, kubectl: Kubectl, cascade: str) -> None:
    """Pods are deleted with their Deployment; only a foreground deletion waits until they are gone."""
    document = deployment()
    container = document["spec"]["template"]["spec"]["containers"][0]
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": 1}}}
    roll_out(kubectl, document)
    out = kubectl.ok("delete", "deployment", "demo", f"--cascade={cascade}", "--timeout=10s")
    assert out == 'deployment.apps "demo" deleted\n'
    left = listed(read(cluster), "Pod")
    assert len(left) == (0 if cascade == "foreground" else 4)
    cluster.wait_until(
        lambda state: not listed(state, "Pod") and not listed(state, "ReplicaSet"), 5, "garbage collection"
    )
    assert kubectl("delete", "deployment", "demo", "--ignore-not-found") == (0, "", "")


def test_terminating_pods(cluster: Cluster, kubectl: Kubectl) -> None:
    """A terminating pod is still listed, with the time of its deletion, and no longer gets traffic."""
    document = deployment()
    container = document["spec"]["template"]["spec"]["containers"][0]
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": 30}}}
    roll_out(kubectl, document)
    code, _, err = kubectl("delete", "deployment", "demo", "--cascade=foreground", "--timeout=1s")
    assert (code, "timed out waiting for the condition on deployments/demo" in err) == (1, True)
    pods = json.loads(kubectl.ok("get", "pods", "-o", "json"))["items"]
    assert ["deletionTimestamp" in pod["metadata"] for pod in pods] == [True] * 4
    assert cluster.pods(NAMESPACE) == []


def test_recreate(cluster: Cluster, kubectl: Kubectl) -> None:
    """With the strategy Recreate, no new pod starts beside an old one."""
    roll_out(kubectl, deployment("one", 2, strategy={"type": "Recreate"}))
    counts = []

    def is_done(state: State) -> bool:
        pods = [pod for pod in listed(state, "Pod") if "deletionTimestamp" not in pod["metadata"]]
        images = [pod["spec"]["containers"][0]["image"] for pod in pods]
        counts.append(len(set(images)))
        return images == ["two"] * 2 and all(map(is_ready, pods))

    kubectl.ok("apply", "-f", "-", text=deployment("two", 2, strategy={"type": "Recreate"}))
    cluster.wait_until(is_done, 5, "new pods")
    assert max(counts) == 1


# The autoscaler


def test_autoscaler(cluster: Cluster, kubectl: Kubectl) -> None:
    """The autoscaler follows the load within its limits, and does not scale down while it is held."""
    roll_out(kubectl, deployment())
    kubectl.ok("apply", "-f", "-", text=autoscaler(selectPolicy="Disabled"))
    cluster.set_load(6)
    cluster.wait_until(has_pods(6), 5, "six pods")
    cluster.set_load(100)
    cluster.wait_until(has_pods(8), 5, "eight pods, the maximum")
    cluster.set_load(1)
    time.sleep(1)
    assert has_pods(8)(read(cluster))
    released = json.dumps({"spec": {"behavior": {"scaleDown": {"selectPolicy": "Max"}}}})
    kubectl.ok("patch", "hpa", "demo", "--type", "merge", "-p", released)
    cluster.wait_until(has_pods(4), 5, "four pods, the minimum")


def test_autoscaler_sees_less_load_beside_a_canary(cluster: Cluster, kubectl: Kubectl) -> None:
    """Other pods take a share of the Deployment's load, so an autoscaler that is not held shrinks it."""
    roll_out(kubectl, deployment(replicas=8))
    kubectl.ok("apply", "-f", "-", text=autoscaler())
    cluster.set_load(8)
    roll_out(kubectl, deployment(replicas=4, track="canary"))
    cluster.wait_until(lambda state: replicas_of(state) < 8, 5, "scaling down")


# Faults


def test_faults(cluster: Cluster, kubectl: Kubectl) -> None:
    """A call fails as often as the scenario wants; with a lost response it is executed."""
    cluster.inject(Fault("^create", times=2, skip=1))
    kubectl.ok("create", "-f", "-", text=config("a"))
    codes = [kubectl("create", "-f", "-", text=config("a", name=name))[0] for name in ("b", "c", "d")]
    assert codes == [1, 1, 0]
    cluster.inject(Fault("^create", "lose"))
    assert kubectl("create", "-f", "-", text=config("a", name="e"))[0] == 1
    assert kubectl.get("configmap", "e")


def test_hanging_and_killing_faults(cluster: Cluster) -> None:
    """A call hangs until its process ends, and a fault can kill the process that called kubectl."""
    cluster.inject(Fault("^get pods", "hang"))
    command = [sys.executable, "-m", "tests.rehearsal.kubectl", "get", "pods", "-n", NAMESPACE, "-o", "json"]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, cwd=ROOT, check=True, timeout=2)
    cluster.inject(Fault("^get pods", "kill"))
    caller = f"import subprocess; subprocess.run({command!r})"
    done = subprocess.run([sys.executable, "-c", caller], cwd=ROOT, check=False)
    assert done.returncode == -9


def test_port_forward(cluster: Cluster, kubectl: Kubectl) -> None:
    """A forwarded port answers until the process ends; without containers, with the model's digest."""
    document = deployment(replicas=1)
    document["spec"]["template"]["metadata"]["annotations"] = {"example.com/model-digest-sha256": "ab"}
    roll_out(kubectl, document)
    (pod,) = cluster.pods(NAMESPACE)
    command = [sys.executable, "-m", "tests.rehearsal.kubectl", "port-forward", "-n", NAMESPACE]
    command += [f"pod/{pod['metadata']['name']}", ":8080"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout
        port = process.stdout.readline().split(":")[1].split(" ")[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/model") as response:
            assert json.load(response) == {"digest": "sha256:ab"}
        process.terminate()


def read(cluster: Cluster) -> State:
    """Return the cluster's state."""
    with locked(cluster.directory) as state:
        return state


def replicas_of(state: State) -> int:
    """Return the replicas of the stable Deployment."""
    return int(state["objects"][f"{NAMESPACE}/Deployment/demo"]["spec"]["replicas"])
