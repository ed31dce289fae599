"""`scripts/build`: a model or an image that fails a check is never tagged."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import write_package
from tests.e2e.images import build, docker, run

pytestmark = pytest.mark.usefixtures("base_image")


def break_pull(clone: Path) -> dict[str, str]:
    """Use a store that does not exist."""
    return {"MODEL_STORE": "file:nowhere"}


def break_gate(clone: Path) -> dict[str, str]:
    """Require an accuracy that the model does not have."""
    (clone / "gate.toml").write_text("[accuracy]\nmin = 0.999\n")
    return {}


def break_gate_of_lock(clone: Path) -> dict[str, str]:
    """Lock a store with a bad model; the default store has a good one with the same version."""
    manifest = json.loads((clone / "model_store/wine/2/manifest.json").read_text())
    for version, accuracy in ((1, 0.99), (2, 0.01)):
        draft = {"name": "wine", "metrics": {"accuracy": accuracy}, "features": manifest["features"]}
        package = clone / f"draft{version}"
        package.mkdir()
        shutil.copy(clone / "model_store/wine/2/model.onnx", package)
        (package / "manifest.json").write_text(json.dumps(draft))
        loader = [str(clone / ".venv/bin/python"), "-m", "model_loader"]
        assert run(*loader, "publish", str(package), "--store", "file:other", cwd=clone).returncode == 0
    assert run(*loader, "pull", "--store", "file:other", cwd=clone).returncode == 0
    (clone / "gate.toml").write_text("[accuracy]\nmin = 0.9\n")
    return {}


def break_self_test(clone: Path) -> dict[str, str]:
    """Publish a model with a sample that it does not answer correctly."""
    (clone / "gate.toml").unlink()
    package = json.loads((clone / "model_store/wine/2/manifest.json").read_text())
    sample = json.loads((clone / "model_store/wine/2/samples.json").read_text())[0]
    model = (clone / "model_store/wine/2/model.onnx").read_bytes()
    sample["outputs"]["label"] = [1 - sample["outputs"]["label"][0]]
    fields = {name: package[name] for name in ("inputs", "outputs")}
    write_package(clone / "other_store/wine/1", model, samples=[sample], name="wine", version=1, **fields)
    return {"MODEL_STORE": "file:other_store"}


def break_smoke(clone: Path) -> dict[str, str]:
    """Remove the route /model from the service."""
    path = clone / "app/__init__.py"
    path.write_text(path.read_text().replace("    app.register_blueprint(model.blueprint(service))\n", ""))
    return {}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_pull, "file:nowhere"),
        (break_gate, "does not pass gate.toml"),
        (break_gate_of_lock, "does not pass gate.toml"),
        (break_self_test, "sample 0: output 'label'"),
        (break_smoke, "GET /model: expected status 200, got 404"),
    ],
    ids=["pull", "gate", "gate_of_lock", "self_test", "smoke"],
)
def test_nothing_is_tagged(clone: Path, tmp_path: Path, tag: str, damage: object, words: str) -> None:
    """A model or image that fails a check is not tagged, and the message names the check."""
    assert callable(damage)
    copy = tmp_path / "demo"
    shutil.copytree(clone, copy, symlinks=True)
    bad = tag.replace(":good", ":bad")
    locked = ["--locked"] if damage is break_gate_of_lock else []
    done = build(copy, bad, *locked, **damage(copy))
    assert done.returncode == 1
    assert words in done.stdout + done.stderr
    assert run("docker", "image", "inspect", bad).returncode == 1


@pytest.mark.parametrize(
    "args",
    [
        ["--push", ""],
        ["--tag"],
        ["--version", "1", "--locked"],
        ["--verion", "1"],
        ["--", "--tag", "x"],
        ["--", "-tx"],
    ],
    ids=" ".join,
)
def test_usage(clone: Path, args: list[str]) -> None:
    """Invalid arguments, and those that would tag an unverified image, are rejected first."""
    done = run(str(clone / "scripts/build"), *args, cwd=clone)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: build ")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["python", "-c", "import time; time.sleep(1); raise SystemExit(3)"], "does not start"),
        (["nonexistent"], "does not start"),
        (
            [
                "python",
                "-c",
                "import socket as s; l = s.create_server(('', 8080)); __import__('time').sleep(99)",
            ],
            "is not ready after 30 s",
        ),
    ],
    ids=["exits", "missing", "hangs"],
)
def test_smoke_of_bad_images(clone: Path, tag: str, tmp_path: Path, command: list[str], words: str) -> None:
    """The smoke test fails for an image that does not become ready in time, and removes the container."""
    (tmp_path / "Dockerfile").write_text(f"FROM {tag}\nCMD {json.dumps(command)}\n")
    bad = tag.replace(":good", ":silent")
    assert run("docker", "build", "--tag", bad, str(tmp_path), DOCKER_BUILDKIT="0").returncode == 0
    done = run(str(clone / "scripts/smoke"), bad)
    assert done.returncode == 1
    assert words in done.stderr
    assert docker("ps", "--all", "--quiet", "--filter", f"ancestor={bad}") == ""
