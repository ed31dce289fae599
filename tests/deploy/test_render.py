"""`scripts/render`: one image by digest, the locked model's labels, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from tests.deploy.conftest import IMAGE, ROOT, Manifest, manifests, render

DIGEST = "0123456789abcdef" * 4


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What rendering needs of the clone, with a lock that a test may change."""
    for name in ("deploy", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "model_loader").mkdir()
    for name in ("requirements.txt", "model_loader/requirements.txt"):
        shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    lock(tmp_path, "wine")
    return tmp_path


def lock(tree: Path, name: str) -> None:
    """Locks a model of this name."""
    (tree / "model.lock").write_text(json.dumps({"name": name, "version": 12, "digest": f"sha256:{DIGEST}"}))


@pytest.mark.parametrize(
    "args",
    [
        ["production"],
        ["production", "registry.example.com/scorebox"],
        ["production", "registry.example.com/scorebox:latest"],
        ["production", f"registry.example.com/scorebox@sha256:{'0' * 63}"],
        ["production", f"sha256:{DIGEST}"],
        ["production", f'x"@sha256:{DIGEST}'],
        ["nowhere", IMAGE],
        ["../base", IMAGE],
        ["production", IMAGE, "--replicas"],
        ["production", IMAGE, "--replicas", "0"],
        ["production", IMAGE, "--replicas", "many"],
    ],
    ids=" ".join,
)
def test_refused(args: list[str]) -> None:
    """What names no image by its digest, no overlay or no number of pods is refused, and nothing printed."""
    done = render(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "render" in done.stderr


def test_image(overlay: dict[str, Manifest]) -> None:
    """Every image is the one that was given, by its digest."""
    spec = overlay["Deployment/scorebox"]["spec"]["template"]["spec"]
    assert [item["image"] for item in spec["containers"]] == [IMAGE]


def test_stable(tree: Path) -> None:
    """The same lock and image give the same bytes, wherever the clone lies."""
    first, second = (render("production", IMAGE, root=tree).stdout for _ in range(2))
    assert first == second != ""
    assert str(tree) not in first


def test_lock(tree: Path) -> None:
    """Name, version and digest are the lock's, on the pods too; numbers stay text."""
    deployment = manifests("staging", IMAGE, root=tree)["Deployment/scorebox"]
    for metadata in (deployment["metadata"], deployment["spec"]["template"]["metadata"]):
        assert metadata["labels"]["scorebox.dev/model-name"] == "wine"
        assert metadata["labels"]["scorebox.dev/model-version"] == "12"
        assert metadata["labels"]["scorebox.dev/model-digest"] == DIGEST[:12]
        assert metadata["annotations"]["scorebox.dev/model-digest-sha256"] == DIGEST


@pytest.mark.parametrize("name", ["m" * 64, "wine-", "wine."])
def test_no_label(tree: Path, name: str) -> None:
    """A name that the cluster would refuse as a label is refused here."""
    lock(tree, name)
    done = render("staging", IMAGE, root=tree)
    assert (done.returncode, done.stdout) == (1, "")
    assert name in done.stderr


def test_replicas() -> None:
    """What runs now can be kept, whatever the overlay starts with."""
    deployment = manifests("production", IMAGE, "--replicas", "14")["Deployment/scorebox"]
    assert deployment["spec"]["replicas"] == 14
