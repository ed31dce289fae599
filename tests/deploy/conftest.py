"""Fixtures: the rendered manifests, as `kubectl apply` receives them."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import missing

ROOT = Path(__file__).parents[2]
IMAGE = f"registry.example.com/team/demo@sha256:{'0123456789abcdef' * 4}"
Manifest = dict[str, Any]


def render(*args: str, root: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run `scripts/render` and return its result, whatever the exit code."""
    if not shutil.which("kubectl"):
        missing("kubectl is not installed")
    return subprocess.run([root / "scripts/render", *args], capture_output=True, text=True, timeout=120)


def manifests(*args: str, root: Path = ROOT) -> dict[str, Manifest]:
    """Run `scripts/render` and return "kind/name" → manifest."""
    done = render(*args, root=root)
    assert done.returncode == 0, done.stderr
    found = list(yaml.safe_load_all(done.stdout))
    named = {f"{manifest['kind']}/{manifest['metadata']['name']}": manifest for manifest in found}
    assert len(named) == len(found)
    return named


def copy_for_render(root: Path) -> None:
    """Copy the files that `scripts/render` needs, but no lock."""
    for name in ("deploy", "scripts", "model_loader"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "service.toml"):
        shutil.copy2(ROOT / name, root / name)
    (root / ".venv").symlink_to(ROOT / ".venv")


def pod(manifests: dict[str, Manifest]) -> Manifest:
    """Return the Deployment's pod template."""
    template: Manifest = manifests["Deployment/demo"]["spec"]["template"]
    return template


def container(manifests: dict[str, Manifest]) -> Manifest:
    """Return the pod template's only container."""
    (found,) = pod(manifests)["spec"]["containers"]
    result: Manifest = found
    return result


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Return whether a selector matches labels."""
    return selector.items() <= labels.items()


@pytest.fixture(scope="session", params=["staging", "production"])
def overlay(request: pytest.FixtureRequest) -> dict[str, Manifest]:
    """The manifests of each overlay."""
    return manifests(request.param, IMAGE)


@pytest.fixture(scope="session")
def production() -> dict[str, Manifest]:
    """The manifests of production, which is deployed with a canary."""
    return manifests("production", IMAGE)
