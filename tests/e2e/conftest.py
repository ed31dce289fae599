"""Fixtures: a fresh clone, a Docker engine, and an image built from the clone."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import pytest

from tests.app.conftest import start_server as start_server
from tests.e2e.images import PLANTED_SECRET, build, docker, run

ROOT = Path(__file__).parents[2]


def copy_work_tree(path: Path) -> Path:
    """Create a clone with the files of this work tree. It shares .venv, so that nothing is reinstalled."""
    files = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, files.split("\0")):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, path / name)
    (path / ".venv").symlink_to(ROOT / ".venv")
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        [*identity, "commit", "--quiet", "--message", "test"],
    ):
        subprocess.run(["git", *command], cwd=path, check=True)
    return path


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clone that images are built from."""
    return copy_work_tree(tmp_path_factory.mktemp("clone") / "demo")


def missing(reason: str) -> NoReturn:
    """Skip a test if a program that it needs is missing; in CI, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def engine() -> None:
    """Require a Docker engine: without one, skip the tests, or fail them in CI."""
    try:
        subprocess.run(["docker", "info"], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        missing("no Docker engine is running")


@pytest.fixture(scope="session")
def base_image(engine: None) -> None:
    """Require the image that others are built on: else skip the tests, or fail them in CI."""
    default = re.search(r"^ARG BASE_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert default
    image = os.environ.get("BASE_IMAGE") or default[1]
    if run("docker", "image", "inspect", image).returncode == 0:
        return
    try:
        pulled = run("docker", "pull", "--quiet", image)
    except subprocess.TimeoutExpired as error:
        missing(f"the Docker engine does not pull the base image {image} within {error.timeout:.0f} s")
    if pulled.returncode != 0:
        missing(f"the Docker engine cannot pull the base image {image}: {pulled.stderr.strip()}")


@pytest.fixture(scope="session")
def tag(clone: Path, base_image: None) -> Iterator[str]:
    """The tag of an image that is built with secrets in files and environment variables.

    All tags of the tests are removed at the end. By tag, not by id: with the classic builder, an image that
    another process of the tests has built on top of a step of this one keeps that step.
    """
    name = f"demo-{uuid4().hex[:8]}"
    (clone / ".env").write_text(f"SECRET={PLANTED_SECRET}\n")
    (clone / "app/keys.pem").write_text(PLANTED_SECRET)
    (clone / "app/routes/static/keys.pem").write_text(PLANTED_SECRET)
    variables = ("AZURE_CLIENT_SECRET", "AZURE_STORAGE_KEY", "API_KEY", "PIP_INDEX_PASSWORD")
    secrets = dict.fromkeys(variables, PLANTED_SECRET)
    done = build(clone, f"{name}:good", **secrets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        rf"built {name}:good: image sha256:[0-9a-f]{{64}}, \d+ MB, model wine/2@sha256:", done.stdout
    )
    yield f"{name}:good"
    tags = docker("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={name}*").split()
    docker("rmi", "--force", *tags)
