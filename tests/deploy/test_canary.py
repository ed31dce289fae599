"""The copies of the Deployment that `scripts/rollout` makes for a canary, and their Prometheus label."""

import re
from pathlib import Path

import kubernetes_validate
import yaml

from release.kubernetes import CANARY, CONTROL, STABLE
from release.manifests import commit_of, copy_of, image_of, read_manifests, stable_deployment
from tests.deploy.conftest import IMAGE, Manifest, pod, selects
from tests.deploy.test_manifests import KUBERNETES


def track(relabelings: list[Manifest], labels: dict[str, str]) -> str:
    """Return the label `track` that Prometheus assigns to a pod with these labels.

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


def test_canary(production: dict[str, Manifest]) -> None:
    """Canary, control and stable Deployments select only their own pods; the Service selects all."""
    stable = production["Deployment/demo"]
    deployments = {STABLE: stable} | {track: copy_of(stable, track, 1) for track in (CANARY, CONTROL)}
    relabelings = production["PodMonitor/demo"]["spec"]["podMetricsEndpoints"][0]["relabelings"]
    for name, deployment in deployments.items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        owners = [
            other
            for other, found in deployments.items()
            if selects(found["spec"]["selector"]["matchLabels"], labels)
        ]
        assert owners == [name]
        assert selects(production["Service/demo"]["spec"]["selector"], labels)
        assert track(relabelings, labels) == name
        kubernetes_validate.validate(deployment, KUBERNETES[-1], strict=True)


def test_roll_out(tmp_path: Path, overlay: dict[str, Manifest]) -> None:
    """`scripts/rollout` accepts the manifests, and names their commit."""
    path = tmp_path / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(overlay.values()))
    namespace = overlay["Deployment/demo"]["metadata"]["namespace"]
    found = read_manifests(path, namespace)
    assert image_of(stable_deployment(found)) == IMAGE
    assert commit_of(stable_deployment(found)) is not None


def test_pod_monitor(overlay: dict[str, Manifest]) -> None:
    """The PodMonitor is one of managed Prometheus with the job `demo`; pods are stable by default."""
    monitor = overlay["PodMonitor/demo"]
    assert monitor["apiVersion"] == "azmonitoring.coreos.com/v1"
    assert pod(overlay)["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "demo"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["path"], endpoint["interval"]) == ("/metrics", "15s")
    assert track(endpoint["relabelings"], {"app.kubernetes.io/name": "demo"}) == "stable"
