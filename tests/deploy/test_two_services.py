"""Two clones with different service files have no name in common."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from model_loader.package.service_file import read_service_file, service
from scripts.names import token_values
from tests.deploy.clones import WINE, write_clone
from tests.deploy.conftest import ROOT, manifests
from tests.pipeline_templates import read_expanded  # part: azure_pipelines, pipelines

COMPONENTS = ["score_file"]
COMPONENTS += ["capture", "capture_hash_key", "monitor"]  # part: monitor
IMAGE = f"registry.io/team/image@sha256:{'0123456789abcdef' * 4}"
RENDER = (IMAGE, "--monitor-image", IMAGE, "--commit", "c" * 40)
AZURE = ("--dry-run", "--github", "a/b", "winestore", "westeurope", "organization", "project")  # part: azure
# The commands, and what their output must have of the other clone's service file.
COMMANDS = {
    "render staging": ("scripts/render", "staging", *RENDER),
    "render production": ("scripts/render", "production", *RENDER),
    "rules": ("scripts/rules", "https://wiki.contoso.com/#"),
    "dashboard": ("scripts/dashboard",),
    "alertmanager": ("scripts/names", "monitoring/alertmanager.yml"),
    "verified images": ("scripts/names", "deploy/components/verified_images/constraint.yaml"),
    "cluster": ("scripts/names", "deploy/azure/cluster.yaml"),
    "certificate": ("scripts/names", "deploy/azure/signing_certificate.json"),  # part: azure
    "azure_setup": ("scripts/azure_setup", *AZURE),  # part: azure
    "teardown": ("scripts/azure_setup", "--teardown", *AZURE),  # part: azure
}


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with other names and with every component in its overlays."""
    root = tmp_path_factory.mktemp("wine")
    write_clone(root, WINE)
    for overlay in (root / "deploy/overlays").glob("*/kustomization.yaml"):
        lines = "".join(f"  - ../../components/{name}\n" for name in COMPONENTS)
        overlay.write_text(f"{overlay.read_text()}components:\n{lines}")
    return root


def words(text: str) -> set[str]:
    """Return the values of the template's own service file that a text has."""
    values = token_values(service()).values()
    return {value for value in values if re.search(rf"(?<![\w.]){re.escape(value)}(?!\w)", text)}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_common_name(wine: Path, command: str) -> None:
    """The output of each command has the clone's own name, and no value of another service file."""
    done = subprocess.run(COMMANDS[command], cwd=wine, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "wine" in done.stdout
    assert words(done.stdout + done.stderr) == set()


def test_objects(wine: Path) -> None:
    """No object has kind, namespace and name of an object of the other service."""

    def objects(root: Path) -> set[tuple[str, str, str]]:
        found = manifests("production", *RENDER, root=root).values()
        return {
            (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]) for each in found
        }

    assert not objects(wine) & objects(ROOT)
    assert {kind for kind, namespace, _ in objects(wine) if not namespace} == set()


def test_values_are_used(wine: Path) -> None:
    """Labels, port and namespace follow the service file."""
    deployment = manifests("production", *RENDER, root=wine)["Deployment/wine-scorer"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "wine-scorer"
    assert [port["containerPort"] for port in container["ports"]] == [9090]
    assert deployment["metadata"]["namespace"] == "wine"
    assert deployment["metadata"]["labels"]["ml.contoso.com/model-name"]
    assert deployment["spec"]["selector"]["matchLabels"]["ml.contoso.com/track"] == "stable"
    monitor = manifests("production", *RENDER, root=wine)["PodMonitor/wine-scorer"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["relabelings"][1]["sourceLabels"] == ["__meta_kubernetes_pod_label_ml_contoso_com_track"]


def test_alerts(wine: Path) -> None:
    """Every selector of rules and dashboard has the service's jobs, and every alert the contact."""
    text = subprocess.check_output(COMMANDS["rules"], cwd=wine, text=True)
    found = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    board = json.loads(subprocess.check_output(COMMANDS["dashboard"], cwd=wine, text=True))
    targets = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    jobs = {'job="wine-scorer"', 'job=~"wine-scorer|wine-scorer-monitor"'}
    for expression in [*(rule["expr"] for rule in found), *targets]:
        selectors = re.findall(r"\{([^}]*)\}", expression)
        assert selectors
        assert {selector.split(",")[0] for selector in selectors} <= jobs, expression
    contacts = {rule["annotations"]["contact"] for rule in found if "alert" in rule}
    assert contacts == {"#wine-on-call"}


# part: azure_pipelines, pipelines
def test_pipelines(wine: Path) -> None:
    """With another name in the variables, no connection has the template's name but those of the webhooks."""
    path = wine / "azure-pipelines-variables.yml"
    path.write_text(re.sub(r"\bdemo\b", "wine-scorer", path.read_text()))
    for pipeline in wine.glob("azure-pipelines*.yml"):
        document = read_expanded(pipeline)
        for webhook in document.pop("resources", {"webhooks": []})["webhooks"]:
            assert webhook.pop("connection").startswith("demo-")
        assert words(yaml.safe_dump(document)) == set()


# end: azure_pipelines, pipelines


def test_service_file(wine: Path) -> None:
    """The other service file has no value of the template's."""
    values = token_values(read_service_file(wine / "service.toml"))
    assert not set(values.values()) & set(token_values(service()).values())
