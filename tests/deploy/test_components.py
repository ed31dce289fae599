"""The components, but for `verified_images`: valid, hardened, consistent with the code."""

import re
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.commands.score_file import build_parser as build_score_parser
from app.settings import Settings
from monitor.__main__ import build_parser
from tests.deploy.conftest import IMAGE, ROOT, Manifest, copy_for_render, manifests, pod, render, selects
from tests.deploy.test_manifests import CUSTOM, KUBERNETES, permissions, size
from tests.deploy.test_restricted import violations

MONITOR_IMAGE = f"registry.example.com/team/demo-monitor@sha256:{'fedcba9876543210' * 4}"
COMPONENTS = ("capture", "capture_hash_key", "monitor", "score_file")
# Seconds for a pod's network, sandbox and the kubelet, after its last container had its time.
MARGIN_S = 5


def clone(tmp_path: Path, *components: str, images: str = "") -> Path:
    """Copy the files that `scripts/render` needs, with components in the overlay `staging`."""
    copy_for_render(tmp_path)
    shutil.copy2(ROOT / "model.lock", tmp_path / "model.lock")
    with (tmp_path / "deploy/overlays/staging/kustomization.yaml").open("a") as overlay:
        overlay.write("components:\n" + "".join(f"  - ../../components/{name}\n" for name in components))
        overlay.write(images)
    return tmp_path


COMMIT = ("--commit", "c" * 40)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    """The manifests of `staging` with every component."""
    root = clone(tmp_path_factory.mktemp("clone"), *COMPONENTS)
    return manifests("staging", IMAGE, *COMMIT, "--monitor-image", MONITOR_IMAGE, root=root)


@pytest.fixture(scope="module")
def pods(complete: dict[str, Manifest]) -> dict[str, Manifest]:
    """Name → pod template of everything that runs pods."""
    return {
        "demo": pod(complete),
        "monitor": complete["Deployment/demo-monitor"]["spec"]["template"],
        "compact": complete["CronJob/demo-compact"]["spec"]["jobTemplate"]["spec"]["template"],
    }


@pytest.fixture(scope="module")
def sidecar(pods: dict[str, Manifest]) -> Manifest:
    """The container that ships."""
    (found,) = pods["demo"]["spec"]["initContainers"]
    result: Manifest = found
    return result


def environ(container: Manifest) -> dict[str, Any]:
    """Return name → value of a container's variables, or the key of the ConfigMap that has it."""
    return {
        each["name"]: each["value"] if "value" in each else each["valueFrom"]["configMapKeyRef"]["key"]
        for each in container["env"]
    }


@pytest.mark.parametrize("version", KUBERNETES)
def test_schema(complete: dict[str, Manifest], version: str) -> None:
    """Every object is valid and has no unknown field."""
    for manifest in complete.values():
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_restricted(pods: dict[str, Manifest]) -> None:
    """No pod violates the restricted standard; each has a read-only root and no token of the cluster."""
    for template in pods.values():
        spec = template["spec"]
        assert list(violations(spec)) == []
        assert spec["automountServiceAccountToken"] is False
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}


def test_images(pods: dict[str, Manifest]) -> None:
    """The service keeps its image and model labels; everything else has the monitor's."""
    images = {
        name: [
            each["image"]
            for each in [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]
        ]
        for name, template in pods.items()
    }
    assert images == {
        "demo": [IMAGE, MONITOR_IMAGE],
        "monitor": [MONITOR_IMAGE],
        "compact": [MONITOR_IMAGE],
    }
    labels = {
        name: "example.com/model-name" in template["metadata"]["labels"] for name, template in pods.items()
    }
    assert labels == {"demo": True, "monitor": False, "compact": False}


@pytest.mark.parametrize("component", ["capture", "monitor"])
def test_image_missing(tmp_path: Path, component: str) -> None:
    """A component without the monitor's image is refused, and so is an image by a tag."""
    done = render("staging", IMAGE, *COMMIT, root=clone(tmp_path / "without", component))
    assert (done.returncode, done.stdout) == (1, "")
    assert "demo-monitor" in done.stderr
    assert "--monitor-image" in done.stderr
    by_tag = "images:\n  - {name: demo-monitor, newName: example.com/monitor, newTag: '1'}\n"
    done = render("staging", IMAGE, *COMMIT, root=clone(tmp_path / "tag", component, images=by_tag))
    assert (done.returncode, done.stdout) == (1, "")
    assert "example.com/monitor:1" in done.stderr


def test_image_in_overlay(tmp_path: Path) -> None:
    """An overlay may have the image itself, so that release and rollback need no option."""
    name, _, digest = MONITOR_IMAGE.partition("@")
    images = f"images:\n  - name: demo-monitor\n    newName: {name}\n    digest: {digest}\n"
    found = manifests("staging", IMAGE, *COMMIT, root=clone(tmp_path, "capture", images=images))
    assert pod(found)["spec"]["initContainers"][0]["image"] == MONITOR_IMAGE


@pytest.mark.parametrize("image", ["", "demo-monitor", "example.com/demo-monitor:latest"])
def test_invalid_image(image: str) -> None:
    """The monitor's image is named by its digest."""
    done = render("staging", IMAGE, "--monitor-image", image)
    assert (done.returncode, done.stdout) == (2, "")


def test_commands(pods: dict[str, Manifest], sidecar: Manifest) -> None:
    """The arguments are those of the monitor, and what they write to is a volume."""
    commands = {"ship": sidecar} | {
        name: pods[each]["spec"]["containers"][0]
        for name, each in (("serve", "monitor"), ("compact", "compact"))
    }
    for name, container in commands.items():
        assert container["args"][0] == name
        args = build_parser().parse_args(container["args"])
        mounted = {each["mountPath"] for each in container["volumeMounts"]}
        assert name == "ship" or {str(args.cache), "/tmp"} <= mounted
    dockerfile = (ROOT / "monitor/Dockerfile").read_text()
    assert 'ENTRYPOINT ["python", "-m", "monitor"]' in dockerfile
    user = pods["demo"]["spec"]["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in dockerfile
    serve = build_parser().parse_args(commands["serve"]["args"])
    assert commands["serve"]["ports"] == [{"name": "http", "containerPort": serve.port}]
    assert serve.host == "0.0.0.0"
    assert build_parser().parse_args(commands["compact"]["args"]).remove


def test_sidecar(pods: dict[str, Manifest], sidecar: Manifest) -> None:
    """The sidecar is native, shares the spool with the service, and nothing else."""
    (service,) = pods["demo"]["spec"]["containers"]
    assert sidecar["restartPolicy"] == "Always"
    directory = environ(sidecar)["CAPTURE_DIR"]
    assert environ(service)["CAPTURE_DIR"] == directory
    assert sidecar["volumeMounts"] == [{"name": "capture", "mountPath": directory}]
    assert {"name": "capture", "mountPath": directory} in service["volumeMounts"]
    (volume,) = [each for each in pods["demo"]["spec"]["volumes"] if each["name"] == "capture"]
    assert size(volume["emptyDir"]["sizeLimit"]) > 1.5 * Settings().capture_max_bytes
    assert service["resources"]["requests"] == service["resources"]["limits"]
    # A pod that uses no more memory than it requests is not evicted when a node runs out of it.
    resources = sidecar["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert size(resources["requests"]["ephemeral-storage"]) == size(volume["emptyDir"]["sizeLimit"])


def test_grace_period(pods: dict[str, Manifest], sidecar: Manifest) -> None:
    """The last segments go out before the pod is killed, also if the service needs all of its time.

    The kubelet stops a native sidecar when the other containers have ended.
    """
    spec = pods["demo"]["spec"]
    pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace_s = build_parser().parse_args(sidecar["args"]).grace
    needed = pause + Settings().graceful_timeout_s + grace_s + MARGIN_S
    assert spec["terminationGracePeriodSeconds"] >= needed
    assert "lifecycle" not in sidecar


def test_autoscaler(complete: dict[str, Manifest]) -> None:
    """The autoscaler measures the service's container, because the sidecar's request is no capacity."""
    (metric,) = complete["HorizontalPodAutoscaler/demo"]["spec"]["metrics"]
    assert metric["containerResource"]["container"] == "demo"
    (before,) = manifests("staging", IMAGE)["HorizontalPodAutoscaler/demo"]["spec"]["metrics"]
    assert metric["containerResource"]["target"] == before["resource"]["target"]


def test_identities(complete: dict[str, Manifest], pods: dict[str, Manifest], sidecar: Manifest) -> None:
    """Each workload has its own identity, and the service's container has no token."""
    accounts = {name: template["spec"]["serviceAccountName"] for name, template in pods.items()}
    assert accounts == {"demo": "demo", "monitor": "demo-monitor", "compact": "demo-compact"}
    assert {f"ServiceAccount/{name}" for name in accounts.values()} <= complete.keys()
    for template in pods.values():
        assert template["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert pods["demo"]["metadata"]["annotations"]["azure.workload.identity/skip-containers"] == "demo"
    assert environ(sidecar)["AZURE_CLIENT_ID"] == "CAPTURE_CLIENT_ID"
    # part: azure
    setup = (ROOT / "deploy/azure/setup/identities.sh").read_text()
    made = set(re.findall(r"--from-literal (\w+)=", setup))
    used = {
        each["valueFrom"]["configMapKeyRef"]["key"]
        for template in pods.values()
        for container in [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]
        for each in container["env"]
        if "valueFrom" in each
    }
    assert used == made
    # end: azure


def test_network(complete: dict[str, Manifest], pods: dict[str, Manifest]) -> None:
    """Every pod reaches DNS, and HTTPS but for the node's metadata; only the monitor has an open port."""
    for name, policy, ingress in (
        ("demo", "demo-capture", None),
        ("monitor", "demo-monitor-store", "demo-monitor"),
        ("compact", "demo-monitor-store", None),
    ):
        labels = pods[name]["metadata"]["labels"]
        spec = complete[f"NetworkPolicy/{policy}"]["spec"]
        selector = spec["podSelector"]
        assert selects(selector.get("matchLabels", {}), labels)
        for expression in selector.get("matchExpressions", []):
            assert labels[expression["key"]] in expression["values"]
        assert spec["policyTypes"] == ["Egress"]
        dns, https = spec["egress"]
        assert {each["port"] for each in dns["ports"]} == {53}
        assert https["ports"] == [{"port": 443, "protocol": "TCP"}]
        assert https["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]
        if ingress:
            opened = complete[f"NetworkPolicy/{ingress}"]["spec"]
            assert selects(opened["podSelector"]["matchLabels"], labels)
            assert opened["ingress"] == [
                {"from": [{"namespaceSelector": {}}], "ports": [{"port": "http", "protocol": "TCP"}]}
            ]


def test_selectors(complete: dict[str, Manifest], pods: dict[str, Manifest]) -> None:
    """Nothing that selects the service's pods selects the others, and the reverse."""
    selectors = {
        "Service": lambda spec: spec["selector"],
        "PodMonitor": lambda spec: spec["selector"]["matchLabels"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "Deployment": lambda spec: spec["selector"]["matchLabels"],
    }
    for key, manifest in complete.items():
        kind, _, name = key.partition("/")
        if kind in selectors:
            selector = selectors[kind](manifest["spec"])
            selected = {
                each for each, found in pods.items() if selects(selector, found["metadata"]["labels"])
            }
            assert selected == {name.removeprefix("demo-")}, key


def test_one_monitor(complete: dict[str, Manifest]) -> None:
    """There is one monitor at any time, and one compaction."""
    spec = complete["Deployment/demo-monitor"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert complete["CronJob/demo-compact"]["spec"]["concurrencyPolicy"] == "Forbid"


def test_score_file(complete: dict[str, Manifest]) -> None:
    """The job runs by hand only, as the service's image, without network or token, on a volume."""
    job = complete["CronJob/demo-score-file"]["spec"]
    assert job["suspend"] is True
    template = job["jobTemplate"]["spec"]["template"]
    spec = template["spec"]
    assert list(violations(spec)) == []
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    assert container["image"] == IMAGE
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"] == container["resources"]["requests"]
    assert container["command"] == ["python", "-m", "app.commands.score_file"]
    args = build_score_parser().parse_args(container["args"])
    (claim,) = [each for each in spec["volumes"] if "persistentVolumeClaim" in each]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == claim["name"]]
    assert {args.source.parent, args.out.parent} == {Path(mount["mountPath"])}
    policy = complete["NetworkPolicy/demo-score-file"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert not policy.keys() & {"ingress", "egress"}
    assert selects(policy["podSelector"]["matchLabels"], template["metadata"]["labels"])


def test_hash_key(pods: dict[str, Manifest], tmp_path: Path) -> None:
    """The key is a file from a Secret that only the service has; without the component, there is none."""
    (service,) = pods["demo"]["spec"]["containers"]
    path = Path(environ(service)["CAPTURE_HASH_KEY_FILE"])
    (mount,) = [each for each in service["volumeMounts"] if each["name"] == "capture-hash-key"]
    assert path.parent == Path(mount["mountPath"])
    assert mount["readOnly"] is True
    (volume,) = [each for each in pods["demo"]["spec"]["volumes"] if each["name"] == "capture-hash-key"]
    assert "optional" not in volume["secret"]
    without = manifests(
        "staging", IMAGE, *COMMIT, "--monitor-image", MONITOR_IMAGE, root=clone(tmp_path, "capture")
    )
    assert "hash-key" not in yaml.safe_dump(pod(without))


def test_pipeline_role(complete: dict[str, Manifest]) -> None:
    """The pipeline may apply every object, and delete it when a release is rejected."""
    may = permissions("demo-staging", "pipeline")
    for manifest in complete.values():
        group, kind = manifest["apiVersion"].rpartition("/")[0], manifest["kind"].lower()
        plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
        assert {"get", "create", "patch", "delete"} <= may[group, plural]
        assert manifest["metadata"]["namespace"] == "demo-staging"


def test_off_by_default(overlay: dict[str, Manifest]) -> None:
    """No overlay captures unless a team adds the component."""
    assert "initContainers" not in pod(overlay)["spec"]
    assert not [key for key in overlay if "monitor" in key.partition("/")[2]]
    assert "CAPTURE" not in yaml.safe_dump(pod(overlay))
