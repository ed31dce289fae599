"""`deploy/components/verified_images`: what Gatekeeper and Ratify get."""

import shutil
import subprocess

import pytest
import yaml

from scripts.names import named_text, write_into
from tests.deploy.conftest import ROOT, Manifest
from tests.e2e.conftest import missing

COMPONENT = ROOT / "deploy/components/verified_images"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    """Kind → manifest, as an administrator applies them."""
    if not shutil.which("kubectl"):
        missing("kubectl is not installed")
    directory = tmp_path_factory.mktemp("named")
    write_into(directory, [COMPONENT])
    done = subprocess.run(
        ["kubectl", "kustomize", directory / COMPONENT.name], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = list(yaml.safe_load_all(done.stdout))
    by_kind = {manifest["kind"]: manifest for manifest in found}
    assert len(by_kind) == len(found)
    return by_kind


def test_values(rendered: dict[str, Manifest]) -> None:
    """The certificate and the client ID reach their places, and nothing else is applied."""
    ratify = {"Store", "KeyManagementProvider", "Verifier", "Policy"}
    assert rendered.keys() == {"ConstraintTemplate", "VerifiedImages", *ratify}
    certificate = rendered["KeyManagementProvider"]["spec"]["parameters"]["value"]
    assert certificate == (COMPONENT / "certificate.pem").read_text()
    provider = rendered["Store"]["spec"]["parameters"]["authProvider"]
    assert provider["clientID"] == "00000000-0000-0000-0000-000000000000"


def test_refused(rendered: dict[str, Manifest]) -> None:
    """Pods and Deployments of the service's namespaces are refused, not only reported."""
    template, constraint = rendered["ConstraintTemplate"], rendered["VerifiedImages"]
    assert template["spec"]["crd"]["spec"]["names"]["kind"] == constraint["kind"]
    # Gatekeeper requires it.
    assert template["metadata"]["name"] == constraint["kind"].lower()
    assert constraint["spec"]["enforcementAction"] == "deny"
    cluster = yaml.safe_load_all(named_text(ROOT / "deploy/azure/cluster.yaml"))
    namespaces = [each["metadata"]["name"] for each in cluster if each["kind"] == "Namespace"]
    assert constraint["spec"]["match"]["namespaces"] == namespaces
    kinds = [kind for each in constraint["spec"]["match"]["kinds"] for kind in each["kinds"]]
    assert kinds == ["Pod", "Deployment"]


def test_trust(rendered: dict[str, Manifest]) -> None:
    """Only signatures of the one certificate count."""
    parameters = rendered["Verifier"]["spec"]["parameters"]
    stores = parameters["verificationCertStores"]["ca"]
    assert stores == {"images": [rendered["KeyManagementProvider"]["metadata"]["name"]]}
    (policy,) = parameters["trustPolicyDoc"]["trustPolicies"]
    assert (policy["trustStores"], policy["signatureVerification"]) == (["ca:images"], {"level": "strict"})
