"""Clones of the template that a team owns, for tests."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests import models
from tests.e2e.conftest import ROOT, copy_work_tree

TRANSFORM = '''\
"""Amounts with their currency."""

import numpy as np

from app.errors import InvalidRequest
from app.model.transform import NamedValues, Transform
from model_loader.package import TensorSpec

RATES = {"EUR": 1.0, "USD": 0.5}


class OwnTransform(Transform):
    """Texts such as `10 EUR` to the model's input."""

    inputs = (TensorSpec("amount", "STRING", ("batch",)),)

    def before(self, inputs: NamedValues) -> NamedValues:
        """Return the amounts in euros."""
        rows = []
        for text in inputs["amount"]:
            number, _, currency = text.partition(" ")
            if currency not in RATES:
                raise InvalidRequest(f"input 'amount': expected {', '.join(RATES)}, got {currency!r}")
            rows.append([float(number) * RATES[currency], 1.0])
        return {"x": np.array(rows, np.float32)}
'''
# y = 2·x + 1.
SAMPLE = {"inputs": {"amount": ["10 EUR", "10 USD"]}, "outputs": {"y": [[21, 3], [11, 3]]}, "rtol": 1e-6}


def run(clone: Path, *command: str, timeout_s: int = 600) -> "subprocess.CompletedProcess[str]":
    """Run a command in a clone, whatever its exit code.

    Without Docker, whose images other tests build, and without CI's variable, which would forbid that.
    """
    environ = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    environ["DOCKER_HOST"] = "unix:///nowhere"
    return subprocess.run(command, cwd=clone, env=environ, capture_output=True, text=True, timeout=timeout_s)


def succeed(clone: Path, *command: str, timeout_s: int = 600) -> str:
    """Run a command that must succeed; return what it prints."""
    done = run(clone, *command, timeout_s=timeout_s)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commit(clone: Path, message: str) -> None:
    """Commit everything."""
    succeed(clone, "git", "add", "--all")
    succeed(clone, "git", "commit", "--quiet", "--message", message)


def make_template(path: Path) -> Path:
    """Make a repository with this work tree's files, as the template's."""
    template = copy_work_tree(path)
    succeed(template, "git", "branch", "--move", "main")
    return template


def clone_template(template: Path, path: Path) -> Path:
    """Clone the template, with the packages installed here."""
    succeed(template.parent, "git", "clone", "--quiet", str(template), str(path))
    for name, value in (("user.name", "team"), ("user.email", "team@example.com")):
        succeed(path, "git", "config", name, value)
    (path / ".venv").symlink_to(ROOT / ".venv")
    # What mypy knows of the same files here saves two minutes.
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", path / ".mypy_cache")
    return path


def add_model(clone: Path) -> None:
    """Publish a model with a transform of its own, and write the files that a team writes."""
    draft = clone / "build/risk"
    draft.mkdir(parents=True)
    (draft / "model.onnx").write_bytes(models.affine())
    (draft / "samples.json").write_text(json.dumps([SAMPLE]))
    manifest = {"name": "risk", "transformed": True, "metrics": {"auc": 0.9}}
    (draft / "manifest.json").write_text(json.dumps(manifest))
    (clone / "app/transform.py").write_text(TRANSFORM)
    succeed(clone, ".venv/bin/python", "-m", "model_loader", "publish", "build/risk")
    succeed(clone, ".venv/bin/python", "-m", "model_loader", "pull")
    (clone / "gate.toml").write_text("[auc]\nmin = 0.8\n")
    (clone / "README.md").write_text("# Ours\n")
    commit(clone, "Add our model")
