"""The manifests are valid and hardened, and consistent with the service and with each other."""

import re

import kubernetes_validate
import pytest
import yaml
from flask import Flask

from app.settings import Settings
from scripts.names import named_text
from tests.deploy.conftest import ROOT, Manifest, container, pod, selects

# kubernetes_validate has no schemas of custom resources; test_canary.py checks this one.
CUSTOM = {"PodMonitor"}
KUBERNETES = ("1.35", "1.37")
UNITS = {"Mi": 2**20, "Gi": 2**30}
# docs/operations.md, "How large is a pod?".
MASTER_BYTES, WORKER_BYTES, BODIES_AT_ONCE = 30_000_000, 90_000_000, 4


def settings(manifests: dict[str, Manifest]) -> Settings:
    """Return the service's settings in a pod, including those calculated from its CPU limit."""
    environ = {item["name"]: item["value"] for item in container(manifests)["env"]}
    return Settings.from_environ(environ).resolved(float(container(manifests)["resources"]["limits"]["cpu"]))


def size(text: str) -> int:
    """Return a Kubernetes quantity in bytes."""
    return int(text[:-2]) * UNITS[text[-2:]]


@pytest.mark.parametrize("version", KUBERNETES)
def test_schema(overlay: dict[str, Manifest], version: str) -> None:
    """Every object is valid and has no unknown field."""
    for manifest in overlay.values():
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
def test_cluster_schema(version: str) -> None:
    """The administrator's objects are valid, and their namespaces enforce the restricted standard."""
    found = list(yaml.safe_load_all(named_text(ROOT / "deploy/azure/cluster.yaml")))
    for manifest in found:
        kubernetes_validate.validate(manifest, version, strict=True)
    namespaces = [manifest["metadata"] for manifest in found if manifest["kind"] == "Namespace"]
    assert {item["name"] for item in namespaces} == {"demo-staging", "demo-production"}
    assert {item["labels"]["pod-security.kubernetes.io/enforce"] for item in namespaces} == {"restricted"}


def permissions(namespace: str, role: str) -> dict[tuple[str, str], set[str]]:
    """Return (API group, resource) → verbs, of a role in the administrator's objects."""
    may: dict[tuple[str, str], set[str]] = {}
    for manifest in yaml.safe_load_all(named_text(ROOT / "deploy/azure/cluster.yaml")):
        metadata = manifest["metadata"]
        if (manifest["kind"], metadata["name"], metadata.get("namespace")) != ("Role", role, namespace):
            continue
        for rule in manifest["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    may.setdefault((group, resource), set()).update(rule["verbs"])
    return may


def test_pipeline_role(overlay: dict[str, Manifest]) -> None:
    """The pipeline's role permits what `scripts/rollout` does with every object, and no secrets or roles."""
    namespace = overlay["Deployment/demo"]["metadata"]["namespace"]
    may = permissions(namespace, "pipeline")
    for manifest in overlay.values():
        group = manifest["apiVersion"].rpartition("/")[0]
        kind = manifest["kind"].lower()
        plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
        verbs = {"get", "create", "patch", "delete"}
        assert may.pop((group, plural), verbs) == verbs | (
            {"list", "watch"} if kind == "deployment" else set()
        )
        assert manifest["metadata"]["namespace"] == namespace
    # Of the component `monitor`; test_components.py checks its objects.
    assert may.pop(("batch", "cronjobs")) == {"get", "create", "patch", "delete"}
    assert may == {
        ("", "configmaps"): {"get", "create", "update", "delete"},
        ("", "pods"): {"get", "list"},
        ("", "pods/portforward"): {"get", "create"},
    }


@pytest.mark.parametrize("stage", ["staging", "production"])
def test_reader_role(stage: str) -> None:
    """The role of recording reads pods, and permits nothing else."""
    assert permissions(f"demo-{stage}", "reader") == {("", "pods"): {"get", "list"}}


def test_writes_only_tmp(overlay: dict[str, Manifest]) -> None:
    """The root is read-only, the user is the image's, and only /tmp is writable, in memory and limited."""
    assert container(overlay)["securityContext"]["readOnlyRootFilesystem"] is True
    user = pod(overlay)["spec"]["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in (ROOT / "Dockerfile").read_text()
    assert [mount["mountPath"] for mount in container(overlay)["volumeMounts"]] == ["/tmp"]
    (volume,) = pod(overlay)["spec"]["volumes"]
    assert volume["emptyDir"]["medium"] == "Memory"
    assert size(volume["emptyDir"]["sizeLimit"]) < size(container(overlay)["resources"]["limits"]["memory"])


def test_no_token(overlay: dict[str, Manifest]) -> None:
    """Pods have no token for the cluster's API; the webhook injects the workload identity's token."""
    assert overlay["ServiceAccount/demo"]["automountServiceAccountToken"] is False
    assert pod(overlay)["spec"]["automountServiceAccountToken"] is False
    assert pod(overlay)["spec"]["serviceAccountName"] == "demo"
    assert pod(overlay)["metadata"]["labels"]["azure.workload.identity/use"] == "true"


def test_workers(overlay: dict[str, Manifest]) -> None:
    """The CPU limit fits whole workers and equals the request, and the memory is sufficient for them."""
    resources = container(overlay)["resources"]
    assert resources["requests"] == resources["limits"]
    found = settings(overlay)
    assert found.web_concurrency * found.intra_op_num_threads == float(resources["limits"]["cpu"])
    (volume,) = pod(overlay)["spec"]["volumes"]
    needed = MASTER_BYTES + found.web_concurrency * WORKER_BYTES + size(volume["emptyDir"]["sizeLimit"])
    needed += BODIES_AT_ONCE * found.max_body_bytes
    assert needed <= size(resources["limits"]["memory"]) <= 2 * needed


def test_drain(overlay: dict[str, Manifest]) -> None:
    """A pod has time for preStop, its drain and the requests in flight before it is killed."""
    found = settings(overlay)
    pause = container(overlay)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause >= 5  # time until every node has removed the pod from its endpoints
    needed = pause + found.drain_delay_s + found.graceful_timeout_s
    assert pod(overlay)["spec"]["terminationGracePeriodSeconds"] > needed
    assert found.request_timeout_ms <= (found.graceful_timeout_s - found.drain_delay_s) * 1000


def test_rollout(overlay: dict[str, Manifest]) -> None:
    """A rollout never reduces the number of pods, and pods are spread over zones and nodes."""
    strategy = overlay["Deployment/demo"]["spec"]["strategy"]
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0
    constraints = pod(overlay)["spec"]["topologySpreadConstraints"]
    assert [item["topologyKey"] for item in constraints] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    for item in constraints:
        assert selects(item["labelSelector"]["matchLabels"], pod(overlay)["metadata"]["labels"])


def test_probes(overlay: dict[str, Manifest], app: Flask) -> None:
    """Probes use the service's routes: startup and readiness check the model, liveness the process."""
    routes = {rule.rule for rule in app.url_map.iter_rules()}
    paths = {
        probe: container(overlay)[f"{probe}Probe"]["httpGet"]["path"]
        for probe in ("startup", "readiness", "liveness")
    }
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    assert set(paths.values()) <= routes


def test_ports(overlay: dict[str, Manifest]) -> None:
    """All objects refer by name to the port that the service listens on."""
    (port,) = container(overlay)["ports"]
    assert port == {"name": "http", "containerPort": settings(overlay).port}
    named = [
        container(overlay)[f"{probe}Probe"]["httpGet"]["port"]
        for probe in ("startup", "readiness", "liveness")
    ]
    named += [item["targetPort"] for item in overlay["Service/demo"]["spec"]["ports"]]
    named += [item["port"] for item in overlay["PodMonitor/demo"]["spec"]["podMetricsEndpoints"]]
    named += [
        item["port"] for rule in overlay["NetworkPolicy/demo"]["spec"]["ingress"] for item in rule["ports"]
    ]
    assert named == ["http"] * 6


def test_network(overlay: dict[str, Manifest]) -> None:
    """The namespace allows only inbound traffic to the service's port."""
    everything = overlay["NetworkPolicy/default-deny"]["spec"]
    assert everything == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    spec = overlay["NetworkPolicy/demo"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    assert "egress" not in spec


def test_selectors(overlay: dict[str, Manifest]) -> None:
    """Service, budget, policy and monitor select the pods of all tracks; the autoscaler's target exists."""
    labels = {"app.kubernetes.io/name": "demo"}
    assert selects(labels, pod(overlay)["metadata"]["labels"])
    assert overlay["Service/demo"]["spec"]["selector"] == labels
    assert overlay["PodDisruptionBudget/demo"]["spec"]["selector"] == {"matchLabels": labels}
    assert overlay["NetworkPolicy/demo"]["spec"]["podSelector"] == {"matchLabels": labels}
    assert overlay["PodMonitor/demo"]["spec"]["selector"] == {"matchLabels": labels}
    target = overlay["HorizontalPodAutoscaler/demo"]["spec"]["scaleTargetRef"]
    assert f"{target['kind']}/{target['name']}" in overlay


def test_autoscaler(overlay: dict[str, Manifest]) -> None:
    """The Deployment starts with the autoscaler's minimum, which allows the eviction of a pod.

    The policy that a rollout changes is named, so that applying the manifests restores it.
    """
    spec = overlay["HorizontalPodAutoscaler/demo"]["spec"]
    assert spec["behavior"]["scaleDown"]["selectPolicy"] == "Max"
    assert overlay["Deployment/demo"]["spec"]["replicas"] == spec["minReplicas"] < spec["maxReplicas"]
    assert spec["minReplicas"] > overlay["PodDisruptionBudget/demo"]["spec"]["maxUnavailable"]


def test_model_labels(overlay: dict[str, Manifest]) -> None:
    """Labels and annotations have the model, for `kubectl get pods -L`, and no selector depends on them."""
    deployment = overlay["Deployment/demo"]
    for metadata in (deployment["metadata"], pod(overlay)["metadata"]):
        digest = metadata["annotations"]["example.com/model-digest-sha256"]
        assert re.fullmatch(r"[0-9a-f]{64}", digest)
        assert digest.startswith(metadata["labels"]["example.com/model-digest"])
        for label in ("name", "version", "digest"):
            assert re.fullmatch(r"[A-Za-z0-9._-]{1,63}", metadata["labels"][f"example.com/model-{label}"])
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert not [name for name in selector if name.startswith("example.com/model")]
