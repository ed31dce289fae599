"""Building and running images in tests."""

import os
import subprocess
from pathlib import Path

HARDENED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
PLANTED_SECRET = "planted-5f1c6f0e"


def run(*command: str, cwd: Path | None = None, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a command and return its result, whatever the exit code."""
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environ, capture_output=True, text=True, timeout=600
    )


def docker(*args: str) -> str:
    """Run a docker command, which must succeed, and return what it prints."""
    done = run("docker", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def build(clone: Path, tag: str, *args: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run `scripts/build`."""
    return run(str(clone / "scripts/build"), "--tag", tag, *args, cwd=clone, **environ)
