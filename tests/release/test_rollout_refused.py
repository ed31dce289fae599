"""What `scripts/rollout start` refuses, before anything changes."""

import re

import pytest

from release.errors import ReleaseError
from release.rollout import start
from release.rollout_state import read_state
from tests.kubernetes_objects import Object, merge_patch
from tests.release.simulated_rollout import NEW, OLD, Simulation, manifests


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
