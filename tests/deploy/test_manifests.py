"""The manifests are valid, hardened, and agree with the service and with each other."""

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml
from flask import Flask

from app.settings import Settings
from tests.deploy.conftest import ROOT, Manifest

# kubernetes_validate has no schema of a custom resource; test_pod_monitor checks this one.
CUSTOM = {"PodMonitor"}
KUBERNETES = ("1.35", "1.37")
UNITS = {"Mi": 2**20, "Gi": 2**30}
# docs/operations.md, "How large is a pod?".
MASTER_BYTES, WORKER_BYTES, BODIES_AT_ONCE = 30_000_000, 90_000_000, 4


def pod(manifests: dict[str, Manifest]) -> Manifest:
    """The pods' template."""
    template: Manifest = manifests["Deployment/scorebox"]["spec"]["template"]
    return template


def container(manifests: dict[str, Manifest]) -> Manifest:
    """The pods' one container."""
    (found,) = pod(manifests)["spec"]["containers"]
    result: Manifest = found
    return result


def settings(manifests: dict[str, Manifest]) -> Settings:
    """The service's settings in a pod, with what is reckoned from its CPU limit."""
    environ = {item["name"]: item["value"] for item in container(manifests)["env"]}
    return Settings.from_environ(environ).resolved(float(container(manifests)["resources"]["limits"]["cpu"]))


def size(text: str) -> int:
    """A quantity of bytes."""
    return int(text[:-2]) * UNITS[text[-2:]]


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether a selector matches labels."""
    return selector.items() <= labels.items()


@pytest.mark.parametrize("version", KUBERNETES)
def test_schema(overlay: dict[str, Manifest], version: str) -> None:
    """Every object is valid, with no field that Kubernetes does not know."""
    for manifest in overlay.values():
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
def test_cluster_schema(version: str) -> None:
    """So is what an administrator applies, and its namespaces enforce the restricted standard."""
    found = list(yaml.safe_load_all((ROOT / "deploy/azure/cluster.yaml").read_text()))
    for manifest in found:
        kubernetes_validate.validate(manifest, version, strict=True)
    namespaces = [manifest["metadata"] for manifest in found if manifest["kind"] == "Namespace"]
    assert {item["name"] for item in namespaces} == {"scorebox-staging", "scorebox-production"}
    assert {item["labels"]["pod-security.kubernetes.io/enforce"] for item in namespaces} == {"restricted"}


def test_pipeline_may_apply(overlay: dict[str, Manifest]) -> None:
    """The pipeline's role lets it apply every object of the overlay, and neither secrets nor roles."""
    namespace = overlay["Deployment/scorebox"]["metadata"]["namespace"]
    (role,) = [
        manifest
        for manifest in yaml.safe_load_all((ROOT / "deploy/azure/cluster.yaml").read_text())
        if manifest["kind"] == "Role" and manifest["metadata"]["namespace"] == namespace
    ]
    may = {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    for manifest in overlay.values():
        group = manifest["apiVersion"].rpartition("/")[0]
        kind = manifest["kind"].lower()
        plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
        assert may[group, plural] >= {"get", "create", "patch"}, plural
        assert manifest["metadata"]["namespace"] == namespace
    assert not {resource for _, resource in may} & {"secrets", "roles", "rolebindings", "pods/exec", "*"}
    assert "*" not in set().union(*may.values())


def violations(spec: Manifest) -> Iterator[str]:
    """What a pod's specification has against the restricted Pod Security Standard, control by control.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    inside = spec["containers"] + spec.get("initContainers", []) + spec.get("ephemeralContainers", [])
    whole = spec.get("securityContext", {})
    contexts = [item.get("securityContext", {}) for item in inside]
    # Of the baseline standard.
    if any(spec.get(field) for field in ("hostNetwork", "hostPID", "hostIPC")):
        yield "host namespaces"
    if any(context.get("privileged") for context in contexts):
        yield "privileged"
    if any(context.get("windowsOptions") for context in [whole, *contexts]):
        yield "host process"
    if any("hostPort" in port for item in inside for port in item.get("ports", [])):
        yield "host ports"
    hooks = [
        item.get(probe, {})
        for item in inside
        for probe in ("livenessProbe", "readinessProbe", "startupProbe")
    ]
    hooks += [hook for item in inside for hook in item.get("lifecycle", {}).values()]
    if any("host" in hook.get(kind, {}) for hook in hooks for kind in ("httpGet", "tcpSocket")):
        yield "host probes"
    for field in ("appArmorProfile", "seLinuxOptions", "procMount", "sysctls"):
        if any(field in context for context in [whole, *contexts]):
            yield field
    # Of the restricted one.
    kinds = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    if {field for volume in spec.get("volumes", []) for field in volume} - {"name"} - kinds:
        yield "volume types"
    if any(context.get("allowPrivilegeEscalation") is not False for context in contexts):
        yield "privilege escalation"
    if not all(context.get("runAsNonRoot", whole.get("runAsNonRoot")) is True for context in contexts):
        yield "non-root"
    if 0 in [context.get("runAsUser") for context in [whole, *contexts]]:
        yield "non-root user"
    profiles = [context.get("seccompProfile", whole.get("seccompProfile", {})) for context in contexts]
    if not all(profile.get("type") in {"RuntimeDefault", "Localhost"} for profile in profiles):
        yield "seccomp"
    capabilities = [context.get("capabilities", {}) for context in contexts]
    if not all("ALL" in item.get("drop", []) and "add" not in item for item in capabilities):
        yield "capabilities"


def test_restricted(overlay: dict[str, Manifest]) -> None:
    """The pods keep to the restricted Pod Security Standard, control by control."""
    assert list(violations(pod(overlay)["spec"])) == []


@pytest.mark.parametrize(
    ("path", "value", "control"),
    [
        ("hostPID", True, "host namespaces"),
        ("containers.0.securityContext.privileged", True, "privileged"),
        ("securityContext.windowsOptions", {"hostProcess": True}, "host process"),
        ("containers.0.ports.0.hostPort", 8080, "host ports"),
        ("containers.0.livenessProbe.httpGet.host", "10.0.0.1", "host probes"),
        ("securityContext.sysctls", [], "sysctls"),
        ("volumes.0.hostPath", {"path": "/"}, "volume types"),
        ("containers.0.securityContext.allowPrivilegeEscalation", True, "privilege escalation"),
        ("securityContext.runAsNonRoot", False, "non-root"),
        ("securityContext.runAsUser", 0, "non-root user"),
        ("securityContext.seccompProfile.type", "Unconfined", "seccomp"),
        ("containers.0.securityContext.capabilities.add", ["SYS_ADMIN"], "capabilities"),
    ],
)
def test_restricted_is_seen(production: dict[str, Manifest], path: str, value: object, control: str) -> None:
    """Each control is really looked at: a pod that breaks it is found."""
    spec = yaml.safe_load(yaml.safe_dump(pod(production)["spec"]))
    *way, last = path.split(".")
    place: Any = spec
    for step in way:
        place = place[int(step) if step.isdecimal() else step]
    place[last] = value
    assert list(violations(spec)) == [control]


def test_writes_only_tmp(overlay: dict[str, Manifest]) -> None:
    """The root is read-only, the user the image's, and only /tmp, bounded and in memory, is writable."""
    assert container(overlay)["securityContext"]["readOnlyRootFilesystem"] is True
    user = pod(overlay)["spec"]["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in (ROOT / "Dockerfile").read_text()
    assert [mount["mountPath"] for mount in container(overlay)["volumeMounts"]] == ["/tmp"]
    (volume,) = pod(overlay)["spec"]["volumes"]
    assert volume["emptyDir"]["medium"] == "Memory"
    assert size(volume["emptyDir"]["sizeLimit"]) < size(container(overlay)["resources"]["limits"]["memory"])


def test_no_token(overlay: dict[str, Manifest]) -> None:
    """Pods get no token of the cluster's API; the one of the workload identity is the webhook's."""
    assert overlay["ServiceAccount/scorebox"]["automountServiceAccountToken"] is False
    assert pod(overlay)["spec"]["automountServiceAccountToken"] is False
    assert pod(overlay)["spec"]["serviceAccountName"] == "scorebox"
    assert pod(overlay)["metadata"]["labels"]["azure.workload.identity/use"] == "true"


def test_workers(overlay: dict[str, Manifest]) -> None:
    """The CPU limit is whole workers, asked for in full, and the memory is enough for them."""
    resources = container(overlay)["resources"]
    assert resources["requests"] == resources["limits"]
    found = settings(overlay)
    assert found.web_concurrency * found.intra_op_num_threads == float(resources["limits"]["cpu"])
    (volume,) = pod(overlay)["spec"]["volumes"]
    needed = MASTER_BYTES + found.web_concurrency * WORKER_BYTES + size(volume["emptyDir"]["sizeLimit"])
    needed += BODIES_AT_ONCE * found.max_body_bytes
    assert needed <= size(resources["limits"]["memory"]) <= 2 * needed


def test_drain(overlay: dict[str, Manifest]) -> None:
    """A pod has time for preStop, for its drain and for what is in flight, before it is killed."""
    found = settings(overlay)
    pause = container(overlay)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause >= 5  # until every node has heard that the pod is no endpoint any more
    needed = pause + found.drain_delay_s + found.graceful_timeout_s
    assert pod(overlay)["spec"]["terminationGracePeriodSeconds"] > needed
    assert found.request_timeout_ms <= (found.graceful_timeout_s - found.drain_delay_s) * 1000


def test_rollout(overlay: dict[str, Manifest]) -> None:
    """A rollout never has fewer pods than before, and pods are spread over zones and nodes."""
    strategy = overlay["Deployment/scorebox"]["spec"]["strategy"]
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0
    constraints = pod(overlay)["spec"]["topologySpreadConstraints"]
    assert [item["topologyKey"] for item in constraints] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    for item in constraints:
        assert selects(item["labelSelector"]["matchLabels"], pod(overlay)["metadata"]["labels"])


def test_probes(overlay: dict[str, Manifest], app: Flask) -> None:
    """Probes ask routes of the service: started and ready by the model's proof, alive by the process."""
    routes = {rule.rule for rule in app.url_map.iter_rules()}
    paths = {
        probe: container(overlay)[f"{probe}Probe"]["httpGet"]["path"]
        for probe in ("startup", "readiness", "liveness")
    }
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    assert set(paths.values()) <= routes


def test_ports(overlay: dict[str, Manifest]) -> None:
    """All name the one port that the service listens on."""
    (port,) = container(overlay)["ports"]
    assert port == {"name": "http", "containerPort": settings(overlay).port}
    named = [
        container(overlay)[f"{probe}Probe"]["httpGet"]["port"]
        for probe in ("startup", "readiness", "liveness")
    ]
    named += [item["targetPort"] for item in overlay["Service/scorebox"]["spec"]["ports"]]
    named += [item["port"] for item in overlay["PodMonitor/scorebox"]["spec"]["podMetricsEndpoints"]]
    named += [
        item["port"]
        for rule in overlay["NetworkPolicy/scorebox"]["spec"]["ingress"]
        for item in rule["ports"]
    ]
    assert named == ["http"] * 6


def test_network(overlay: dict[str, Manifest]) -> None:
    """Nothing gets in or out of the namespace but requests to the service's port."""
    everything = overlay["NetworkPolicy/default-deny"]["spec"]
    assert everything == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    spec = overlay["NetworkPolicy/scorebox"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    assert "egress" not in spec


def test_all_select_the_pods(overlay: dict[str, Manifest]) -> None:
    """Service, budget, policy and monitor select the pods of every track, and the autoscaler has a target."""
    labels = {"app.kubernetes.io/name": "scorebox"}
    assert selects(labels, pod(overlay)["metadata"]["labels"])
    assert overlay["Service/scorebox"]["spec"]["selector"] == labels
    assert overlay["PodDisruptionBudget/scorebox"]["spec"]["selector"] == {"matchLabels": labels}
    assert overlay["NetworkPolicy/scorebox"]["spec"]["podSelector"] == {"matchLabels": labels}
    assert overlay["PodMonitor/scorebox"]["spec"]["selector"] == {"matchLabels": labels}
    target = overlay["HorizontalPodAutoscaler/scorebox"]["spec"]["scaleTargetRef"]
    assert f"{target['kind']}/{target['name']}" in overlay


def test_autoscaler(overlay: dict[str, Manifest]) -> None:
    """The Deployment starts with what the autoscaler would keep at least, and a pod may be drained."""
    spec = overlay["HorizontalPodAutoscaler/scorebox"]["spec"]
    assert overlay["Deployment/scorebox"]["spec"]["replicas"] == spec["minReplicas"] < spec["maxReplicas"]
    assert spec["minReplicas"] > overlay["PodDisruptionBudget/scorebox"]["spec"]["maxUnavailable"]


def test_model_labels(overlay: dict[str, Manifest]) -> None:
    """`kubectl get pods -L` shows the model, and no selector depends on it."""
    deployment = overlay["Deployment/scorebox"]
    for metadata in (deployment["metadata"], pod(overlay)["metadata"]):
        digest = metadata["annotations"]["scorebox.dev/model-digest-sha256"]
        assert re.fullmatch(r"[0-9a-f]{64}", digest)
        assert digest.startswith(metadata["labels"]["scorebox.dev/model-digest"])
        for label in ("name", "version", "digest"):
            assert re.fullmatch(r"[A-Za-z0-9._-]{1,63}", metadata["labels"][f"scorebox.dev/model-{label}"])
    assert not [
        name for name in deployment["spec"]["selector"]["matchLabels"] if name.startswith("scorebox.dev")
    ]


def track(relabelings: list[Manifest], labels: dict[str, str]) -> str:
    """The label `track` that Prometheus gives a pod with these labels.

    https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config, action replace
    """
    meta = {
        f"__meta_kubernetes_pod_label_{re.sub('[^A-Za-z0-9]', '_', name)}": value
        for name, value in labels.items()
    }
    for rule in relabelings:
        source = ";".join(meta.get(name, "") for name in rule.get("sourceLabels", []))
        if found := re.fullmatch(rule.get("regex", "(.*)"), source):
            meta[rule["targetLabel"]] = rule.get("replacement", found.expand(r"\1") if found.groups() else "")
    return meta["track"]


def copied(deployment: Manifest, name: str) -> Manifest:
    """A Deployment as KubernetesManifest@1 copies it for its canary strategy."""
    copy: Manifest = yaml.safe_load(yaml.safe_dump(deployment))
    copy["metadata"]["name"] += f"-{name}"
    for labels in (
        copy["metadata"]["labels"],
        copy["spec"]["selector"]["matchLabels"],
        copy["spec"]["template"]["metadata"]["labels"],
    ):
        labels["azure-pipelines/version"] = name
    return copy


def test_canary(production: dict[str, Manifest]) -> None:
    """Of the canary, its baseline and the stable pods no Deployment selects another's, and all are served."""
    stable = production["Deployment/scorebox"]
    deployments = {
        "stable": stable,
        "canary": copied(stable, "canary"),
        "baseline": copied(stable, "baseline"),
    }
    relabelings = production["PodMonitor/scorebox"]["spec"]["podMetricsEndpoints"][0]["relabelings"]
    for name, deployment in deployments.items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        owners = [
            other
            for other, found in deployments.items()
            if selects(found["spec"]["selector"]["matchLabels"], labels)
        ]
        assert owners == [name]
        assert selects(production["Service/scorebox"]["spec"]["selector"], labels)
        assert track(relabelings, labels) == name
    # 10 % of the Deployment's own count, rounded: the task would make a canary of no pods without complaint.
    assert round(stable["spec"]["replicas"] * 10 / 100) >= 1


def test_pod_monitor(overlay: dict[str, Manifest]) -> None:
    """Managed Prometheus reads it, as the job `scorebox`; pods are stable unless they say otherwise."""
    monitor = overlay["PodMonitor/scorebox"]
    assert monitor["apiVersion"] == "azmonitoring.coreos.com/v1"
    assert pod(overlay)["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "scorebox"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["path"], endpoint["interval"]) == ("/metrics", "15s")
    assert track(endpoint["relabelings"], {"app.kubernetes.io/name": "scorebox"}) == "stable"
