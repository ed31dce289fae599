"""The copies of the Deployment that KubernetesManifest@1 makes for a canary, and their Prometheus label."""

import re

import yaml

from tests.deploy.conftest import Manifest, pod, selects


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


def copied(deployment: Manifest, name: str) -> Manifest:
    """Return a copy of a Deployment as KubernetesManifest@1 creates it for its canary strategy."""
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
    """Canary, control and stable Deployments select only their own pods; the Service selects all."""
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
    # The task rounds 10 % of the Deployment's replicas. If that is 0, it creates no pod and reports no error.
    assert round(stable["spec"]["replicas"] * 10 / 100) >= 1


def test_pod_monitor(overlay: dict[str, Manifest]) -> None:
    """The PodMonitor is one of managed Prometheus with the job `scorebox`; pods are stable by default."""
    monitor = overlay["PodMonitor/scorebox"]
    assert monitor["apiVersion"] == "azmonitoring.coreos.com/v1"
    assert pod(overlay)["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "scorebox"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["path"], endpoint["interval"]) == ("/metrics", "15s")
    assert track(endpoint["relabelings"], {"app.kubernetes.io/name": "scorebox"}) == "stable"
