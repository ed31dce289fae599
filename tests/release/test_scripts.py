"""The scripts that run the release commands."""

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
