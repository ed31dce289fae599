"""The chain of fixtures published → images → environment, and a function that runs the commands."""

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_loader.registry.publish import publish
from model_loader.registry.stages import promote
from model_loader.registry.versions import find
from model_loader.store import open_store
from release.__main__ import main
from release.record_release import lock_text
from release.release_log import Release
from tests.e2e.conftest import engine, missing
from tests.model_loader.command_line import Result
from tests.model_loader.drafts import write_draft
from tests.release.environment import Image, ReleaseEnvironment
from tests.release.simulated_rollout import OLD, Simulation, connect, manifests

__all__ = ["engine"]
ROOT = Path(__file__).parents[2]


def release(*argv: str) -> Result:
    """Run `python -m release` and return its exit code and output."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            code = main(argv)
        except SystemExit as exc:
            code = int(exc.code or 0)
    return Result(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run Debian's docker-registry on loopback and return its address."""
    program = shutil.which("docker-registry")
    if program is None:
        missing("docker-registry is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    directory = tmp_path_factory.mktemp("registry")
    (directory / "config.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n"
        f"http: {{addr: '{address}'}}\nlog: {{level: error}}\n"
    )
    command = [program, "serve", str(directory / "config.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        yield address
        server.terminate()


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a store with tiny/1, tiny/2 and tiny/3."""
    directory = tmp_path_factory.mktemp("published")
    for _ in range(3):
        publish(write_draft(directory / "draft"), open_store(f"file:{directory}/store"))
    return directory / "store"


@pytest.fixture(scope="session")
def images(engine: None, registry: str, published: Path) -> Iterator[list[Image]]:
    """Push an empty image for each of these models, with the model's labels."""
    store = open_store(f"file:{published}")
    pushed = []
    for number in (1, 2, 3):
        digest = find(store, "tiny", str(number)).digest
        tag, commit = f"{registry}/demo:{number}", str(number) * 40
        labels = {
            "scoring.model.name": "tiny",
            "scoring.model.version": number,
            "scoring.model.digest": digest,
            "org.opencontainers.image.revision": commit,
        }
        changes = [f"--change=LABEL {key}={value}" for key, value in labels.items()]
        docker("import", *changes, "-", tag, stdin=bytes(10240))
        docker("push", "--quiet", tag)
        reference = docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", tag)
        pushed.append(Image(reference, commit, f"tiny/{number}@{digest}"))
    yield pushed
    docker("rmi", "--force", *(f"{registry}/demo:{number}" for number in (1, 2, 3)))


def docker(*args: str, stdin: bytes | None = None) -> str:
    """Run docker and return its output."""
    return subprocess.check_output(["docker", *args], input=stdin, timeout=60).decode().strip()


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the files that scripts/render needs, but no lock."""
    tree = tmp_path_factory.mktemp("seed")
    for path in ("scripts", "deploy", "model_loader"):
        shutil.copytree(ROOT / path, tree / path, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ("requirements.txt", "service.toml", ".gitignore"):
        shutil.copy2(ROOT / path, tree / path)
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@example.com")
    for command in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        (*identity, "commit", "--quiet", "--message=seed"),
    ):
        subprocess.run(["git", *command], cwd=tree, check=True)
    return tree


@pytest.fixture
def environment(
    tmp_path: Path, images: list[Image], published: Path, seed: Path, monkeypatch: pytest.MonkeyPatch
) -> ReleaseEnvironment:
    """Return an environment in which tiny/1 and then tiny/2 were released.

    The working directory is its clone.
    """
    shutil.copytree(published, tmp_path / "store")
    store = open_store(f"file:{tmp_path}/store")
    tree = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(seed), str(tree)], check=True)
    monkeypatch.setenv("MODEL_STORE", f"file:{tmp_path}/store")
    monkeypatch.setenv("MODEL_PUBLISHER", "tester")
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    environment = ReleaseEnvironment(tmp_path, images)
    first, second, _ = images
    releases = []
    for number, image in enumerate((first, second), start=1):
        releases.append(
            Release(f"2026-01-0{number}T00:00:00Z", image.commit, image.reference, image.model, "me")
        )
        promote(store, "tiny", image.model.split("/")[1].split("@")[0], "production")
    (tree / "releases.jsonl").write_text("".join(each.to_line() for each in releases))
    (tree / "model.lock").write_text(lock_text(releases[-1].lock(store.url)))
    environment.git("add", "--all", where="clone")
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@example.com")
    environment.git(*identity, "commit", "--quiet", "--message=Release tiny/2", where="clone")
    subprocess.run(["git", "clone", "--quiet", "--bare", str(tree), f"{tmp_path}/origin.git"], check=True)
    environment.git("remote", "set-url", "origin", f"{tmp_path}/origin.git", where="clone")
    (tree / ".venv").symlink_to(ROOT / ".venv")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "kubectl").write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.release.kubectl "$@"\n'
    )
    (programs / "kubectl").chmod(0o755)
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        missing("kubectl is not installed")
    monkeypatch.setenv("KUBECTL_STATE", f"{tmp_path}/cluster.json")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.chdir(tree)
    # As scripts/render of an earlier release printed it, with the autoscaler's number of replicas.
    labels = {"app.kubernetes.io/name": "demo", "example.com/track": "stable"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "demo", "namespace": "demo-production", "resourceVersion": "1"},
        "spec": {"replicas": 3, "selector": {"matchLabels": labels}},
    }
    objects = {"deployment/demo-production/demo": deployment}
    state = {"real": kubectl, "fail": "", "objects": objects, "pods": []}
    (tmp_path / "cluster.json").write_text(json.dumps(state))
    environment.run_images(second, second, second)
    return environment


@pytest.fixture
def simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    """A cluster without a release."""
    simulation = Simulation(tmp_path)
    connect(simulation, monkeypatch)
    return simulation


@pytest.fixture
def released(simulation: Simulation) -> Simulation:
    """A cluster in which all ten pods run the old release."""
    simulation.release(manifests(OLD, 1))
    simulation.commands.clear()
    return simulation
