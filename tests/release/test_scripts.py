"""The scripts that run the release commands."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("script", "command"),
    [
        ("canary_gate", "canary-gate"),
        ("record", "record"),
        ("rollback", "rollback"),
        ("which", "which"),
    ],
)
def test_script(script: str, command: str, tmp_path: Path) -> None:
    """Each script runs its command, whatever the working directory."""
    done = subprocess.run(
        [ROOT / "scripts" / script, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m release {command} ")


@pytest.mark.parametrize("model", ["--locked", "--version 3"])
def test_record_build(model: str, tmp_path: Path) -> None:
    """`scripts/record` takes the output of `scripts/plan` as a model, although it begins with a dash."""
    command = [str(ROOT / "scripts/record"), "--model", model, "--stage", "build"]
    environ = os.environ | {"MODEL_STORE": f"file:{tmp_path}/empty", "MODEL_NAME": "tiny"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "usage" not in done.stderr
    assert f"{tmp_path}/empty" in done.stderr


def test_rollout() -> None:
    """`scripts/rollout` has its commands."""
    done = subprocess.run([ROOT / "scripts/rollout", "--help"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: rollout ")
