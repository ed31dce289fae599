"""Tests of scripts/rollout on the rehearsal's cluster, without containers: pods are ready at once.

Smoke tests are left out, because no pod answers them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.names import write_into
from tests.rehearsal.cluster.cluster import Cluster
from tests.rehearsal.cluster.deployments import is_ready
from tests.rehearsal.cluster.faults import Fault
from tests.rehearsal.cluster.objects import listed
from tests.rehearsal.cluster.pods import TRACK
from tests.rehearsal.cluster.state import State

ROOT = Path(__file__).parents[2]
NAMESPACE = "demo-staging"
PODS = 2
OLD, NEW, OTHER = "0" * 64, "1" * 64, "2" * 64  # digests of images
KUBECTL = f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -P -m tests.rehearsal.kubectl "$@"\n'
Document = dict[str, Any]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a cluster with the Roles of deploy/azure/cluster.yaml, and two pods of the old release."""
    directory = tmp_path_factory.mktemp("deployed")
    with running(directory) as cluster:
        release = Release(directory, "0")
        for command in (["start", release.manifests(OLD)], ["promote"]):
            done = release.rollout(*command)
            assert done.returncode == 0, done.stderr
        cluster.wait_until(settled(OLD), 30, "pods of the old release")
    return directory / "state/state.json"


@pytest.fixture
def cluster(tmp_path: Path, deployed: Path) -> Iterator[Cluster]:
    """A running cluster that begins in the deployed state."""
    (tmp_path / "state").mkdir()
    shutil.copy(deployed, tmp_path / "state")
    with running(tmp_path) as cluster:
        yield cluster


@contextmanager
def running(directory: Path) -> Iterator[Cluster]:
    """Run a cluster under a load that needs two pods."""
    cluster = Cluster(directory / "state")
    cluster.directory.mkdir(exist_ok=True)
    with cluster.running(ROOT / "deploy/azure/cluster.yaml"):
        cluster.set_load(PODS, NAMESPACE)
        yield cluster


class Release:
    """Runs scripts/rollout as one run of the pipeline, with the permissions of staging's identity."""

    def __init__(self, directory: Path, run: str) -> None:
        """Create a run whose files are in a directory."""
        self.directory = directory
        programs = directory / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "kubectl").write_text(KUBECTL)
        (directory / "scripts").mkdir(exist_ok=True)
        (directory / "scripts/smoke").write_text("#!/bin/sh\n")
        for program in (programs / "kubectl", directory / "scripts/smoke"):
            program.chmod(0o755)
        self.env = os.environ | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "REHEARSAL_CLUSTER": str(directory / "state"),
            "REHEARSAL_KUBECTL": shutil.which("kubectl") or "",
            "REHEARSAL_IDENTITY": NAMESPACE,
            "BUILD_BUILDID": run,
        }

    def manifests(self, image: str) -> str:
        """Write staging's manifests with an image to a file; return its path."""
        write_into(self.directory / "named", [ROOT / "deploy/base", ROOT / "deploy/overlays"])
        overlay = self.directory / "named/overlays/staging"
        text = subprocess.check_output(["kubectl", "kustomize", overlay], text=True)
        documents = list(yaml.safe_load_all(text))
        (deployment,) = (each for each in documents if each["kind"] == "Deployment")
        deployment["metadata"]["annotations"]["example.com/commit"] = "a" * 40
        template = deployment["spec"]["template"]
        template["spec"]["containers"][0]["image"] = f"example/demo@sha256:{image}"
        template["metadata"]["annotations"] = {"example.com/model-digest-sha256": "ab"}
        template["metadata"]["labels"] |= {
            "example.com/model-name": "wine",
            "example.com/model-version": "1",
        }
        path = self.directory / f"{image}.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        return str(path)

    def rollout(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of scripts/rollout."""
        argv = [sys.executable, "-P", "-m", "release.rollout_command", *command, "--namespace", NAMESPACE]
        return subprocess.run(
            argv, cwd=self.directory, env=self.env, check=False, capture_output=True, text=True
        )


def objects(cluster: Cluster) -> dict[str, Document]:
    """Return the cluster's objects without the number of replicas, which the autoscaler sets."""
    found = cluster.objects(NAMESPACE)
    found["Deployment/demo"]["spec"].pop("replicas")
    return found


def settled(image: str) -> Callable[[State], bool]:
    """Return a condition: as many pods as the load needs, all of them stable and ready, run an image."""

    def is_settled(state: State) -> bool:
        pods = listed(state, "Pod", NAMESPACE)
        images = {pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in pods}
        tracks = {pod["metadata"]["labels"][TRACK] for pod in pods}
        return (len(pods), images, tracks) == (PODS, {image}, {"stable"}) and all(map(is_ready, pods))

    return is_settled


def test_release(cluster: Cluster, tmp_path: Path) -> None:
    """A release passes both steps and is promoted; afterwards the autoscaler removes pods again."""
    release = Release(tmp_path, "1")
    for command in (["start", release.manifests(NEW)], ["step", "10"], ["step", "50"], ["promote"]):
        done = release.rollout(*command)
        assert done.returncode == 0, done.stderr
    assert "to 4 pods" in done.stdout
    cluster.wait_until(settled(NEW), 30, "pods of the new release")


@pytest.mark.parametrize(
    ("pattern", "action"),
    [
        ("^rollout status deployment/demo-canary", "kill"),
        ("^rollout status deployment/demo ", "kill"),
        ("^delete deployment", "lose"),
        ("^delete configmap", "fail"),
    ],
)
def test_interrupted(cluster: Cluster, tmp_path: Path, pattern: str, action: str) -> None:
    """Wherever a run ends, rejecting it restores the cluster, with all pods of the release before."""
    before, release = objects(cluster), Release(tmp_path, "1")
    # The first deletion of Deployments is by `start`, in case an earlier run has left them.
    cluster.inject(Fault(pattern, action, skip=1 if pattern == "^delete deployment" else 0))
    commands = (["start", release.manifests(NEW)], ["step", "50"], ["promote"])
    assert any(release.rollout(*command).returncode for command in commands)
    cluster.clear_faults()
    done = release.rollout("reject")
    assert done.returncode == 0, done.stderr
    cluster.wait_until(settled(OLD), 60, "pods of the old release")
    assert objects(cluster) == before


def test_failed_promotion(cluster: Cluster, tmp_path: Path) -> None:
    """A promotion whose pods fail half-way is rejected, and never takes a ready pod away."""
    before, release = objects(cluster), Release(tmp_path, "1")
    release.rollout("start", release.manifests(NEW))
    cluster.fail_next(1, namespace=NAMESPACE)
    done = release.rollout("promote")
    assert done.returncode == 1
    assert "exceeded its progress deadline" in done.stderr
    done = release.rollout("reject")
    assert done.returncode == 0, done.stderr
    cluster.wait_until(settled(OLD), 60, "pods of the old release")
    assert objects(cluster) == before


def test_two_runs(cluster: Cluster, tmp_path: Path) -> None:
    """A later run takes over; the earlier one changes nothing more, and fails."""
    first, second = Release(tmp_path, "1"), Release(tmp_path, "2")
    first.rollout("start", first.manifests(NEW))
    first.rollout("step", "10")
    assert second.rollout("start", second.manifests(OTHER)).returncode == 0
    assert {pod["metadata"]["labels"][TRACK] for pod in cluster.pods(NAMESPACE)} == {"stable"}
    for command in (["step", "50"], ["promote"]):
        assert "belongs to azure-2" in first.rollout(*command).stderr
    assert first.rollout("reject").returncode == 0
    assert second.rollout("step", "10").returncode == 0
    assert first.rollout("reject").returncode == 0
    assert second.rollout("promote").returncode == 0
    cluster.wait_until(settled(OTHER), 60, "pods of the second release")


def test_full_nodes(cluster: Cluster, tmp_path: Path) -> None:
    """A canary that finds no room is rejected, while the stable pods keep running."""
    before, release = objects(cluster), Release(tmp_path, "1")
    cluster.set_capacity(PODS)
    release.rollout("start", release.manifests(NEW))
    canary = Fault("^rollout status deployment/demo-canary", "fail")  # instead of five minutes' waiting
    cluster.inject(canary)
    assert release.rollout("step", "50").returncode == 1
    pods = cluster.pods(NAMESPACE)
    assert [pod["status"]["phase"] for pod in pods].count("Pending") == 2
    assert release.rollout("reject").returncode == 0
    cluster.wait_until(settled(OLD), 60, "pods of the old release")
    assert objects(cluster) == before
