"""`scripts/render`: the image by digest, and the labels of the locked model."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.conftest import IMAGE, Manifest, copy_for_render, manifests, render

DIGEST = "0123456789abcdef" * 4


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that `scripts/render` needs, with a lock file that a test may change."""
    copy_for_render(tmp_path)
    lock(tmp_path, "wine")
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@example.com")
    for command in (("init", "--quiet"), (*identity, "commit", "--quiet", "--allow-empty", "--message=seed")):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    return tmp_path


def lock(tree: Path, name: str) -> None:
    """Write a lock file for a model with this name."""
    (tree / "model.lock").write_text(json.dumps({"name": name, "version": 12, "digest": f"sha256:{DIGEST}"}))


@pytest.mark.parametrize(
    "args",
    [
        ["production"],
        ["production", "registry.example.com/demo"],
        ["production", "registry.example.com/demo:latest"],
        ["production", f"registry.example.com/demo@sha256:{'0' * 63}"],
        ["production", f"sha256:{DIGEST}"],
        ["production", f'x"@sha256:{DIGEST}'],
        ["nowhere", IMAGE],
        ["../base", IMAGE],
        ["production", IMAGE, "--replicas"],
        ["production", IMAGE, "--replicas", "0"],
        ["production", IMAGE, "--replicas", "many"],
        ["production", IMAGE, "--commit"],
        ["production", IMAGE, "--commit", "main"],
        ["production", IMAGE, "--commit", "a" * 39],
        ["production", IMAGE, "14"],
    ],
    ids=" ".join,
)
def test_usage(args: list[str]) -> None:
    """An image without digest, an unknown overlay or an invalid number of replicas is a usage error."""
    done = render(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "render" in done.stderr


def test_image(overlay: dict[str, Manifest]) -> None:
    """Every container has the given image, by its digest."""
    spec = overlay["Deployment/demo"]["spec"]["template"]["spec"]
    assert [item["image"] for item in spec["containers"]] == [IMAGE]


def test_reproducible(tree: Path) -> None:
    """The same lock file and image produce the same bytes, independent of the clone's path."""
    first, second = (render("production", IMAGE, root=tree).stdout for _ in range(2))
    assert first == second != ""
    assert str(tree) not in first


def test_lock(tree: Path) -> None:
    """Deployment and pods have name, version and digest from the lock file, as strings."""
    deployment = manifests("staging", IMAGE, root=tree)["Deployment/demo"]
    for metadata in (deployment["metadata"], deployment["spec"]["template"]["metadata"]):
        assert metadata["labels"]["example.com/model-name"] == "wine"
        assert metadata["labels"]["example.com/model-version"] == "12"
        assert metadata["labels"]["example.com/model-digest"] == DIGEST[:12]
        assert metadata["annotations"]["example.com/model-digest-sha256"] == DIGEST


@pytest.mark.parametrize("name", ["m" * 64, "wine-", "wine."])
def test_invalid_label(tree: Path, name: str) -> None:
    """A model name that is no valid Kubernetes label is rejected."""
    lock(tree, name)
    done = render("staging", IMAGE, root=tree)
    assert (done.returncode, done.stdout) == (1, "")
    assert name in done.stderr


def test_replicas() -> None:
    """`--replicas` overrides the overlay's number of replicas."""
    deployment = manifests("production", IMAGE, "--replicas", "14")["Deployment/demo"]
    assert deployment["spec"]["replicas"] == 14


def test_commit(tree: Path) -> None:
    """The Deployment, but not its pods, has the clone's commit, or the one given with `--commit`."""
    head = subprocess.check_output(["git", "-C", tree, "rev-parse", "HEAD"], text=True).strip()
    for options, commit in (((), head), (("--commit", "c" * 40, "--replicas", "3"), "c" * 40)):
        deployment = manifests("staging", IMAGE, *options, root=tree)["Deployment/demo"]
        assert deployment["metadata"]["annotations"]["example.com/commit"] == commit
        assert "example.com/commit" not in deployment["spec"]["template"]["metadata"]["annotations"]


def test_no_commit(tree: Path) -> None:
    """Without a clone the commit has to be given."""
    shutil.rmtree(tree / ".git")
    done = render("staging", IMAGE, root=tree)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--commit SHA" in done.stderr
