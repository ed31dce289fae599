"""Runs of the command line, and snapshots of the directory that it works in."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    """The exit code of a command and what it printed."""

    code: int
    out: str
    err: str


Loader = Callable[..., Result]
Snapshot = dict[str, bytes]


def snapshot(workspace: Path) -> Snapshot:
    """Return the content of every file in `model/`, and of `model.lock`."""
    files = [workspace / "model.lock", *(workspace / "model").rglob("*")]
    return {str(file.relative_to(workspace)): file.read_bytes() for file in files if file.is_file()}


def start(*argv: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start the command line in another process."""
    return subprocess.Popen(
        [sys.executable, "-m", "model_loader", *argv],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
