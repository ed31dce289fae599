"""The agent of a job: its workspace, and the steps that every pipeline has: scripts, checkout, artifacts."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.rehearsal.errors import RehearsalError, StepFailed

# How long a step runs before it is interrupted, and before a canceled one is killed.
INTERRUPT_AFTER_S, KILL_AFTER_S = 1.0, 10.0
CANCEL, LOSE = "cancel", "lose"


@dataclass
class Agent:
    """The agent of one job.

    Attributes:
        workspace: Pipeline.Workspace; the source is checked out into its directory `s`.
        variables: name → value of `$(name)`.
        env: environment variables of the steps' processes.
        context: name → value for expressions.
    """

    workspace: Path
    variables: dict[str, str]
    env: dict[str, str]
    context: dict[str, Any] = field(default_factory=dict)

    @property
    def sources(self) -> Path:
        """Build.SourcesDirectory, or GITHUB_WORKSPACE."""
        return self.workspace / "s"

    @property
    def output_file(self) -> Path:
        """GITHUB_OUTPUT of the current step."""
        return self.workspace / "output"

    @property
    def env_file(self) -> Path:
        """GITHUB_ENV of the current step."""
        return self.workspace / "env"


def run_script(
    script: str,
    agent: Agent,
    env: Mapping[str, str],
    log: Path,
    interrupt: str = "",
    reached: Callable[[], bool] | None = None,
) -> str:
    """Run a script with bash and append its output to the log.

    Args:
        interrupt: `cancel` sends SIGTERM to the script's processes, `lose` sends SIGKILL.
        reached: when; default: after a second.

    Returns:
        What it printed, also if it was interrupted.

    Raises:
        StepFailed: its exit code is not 0.
    """
    start = log.stat().st_size
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=agent.sources,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    if interrupt:
        _interrupt(process, signal.SIGKILL if interrupt == LOSE else signal.SIGTERM, reached)
    code = process.wait()
    printed = log.read_bytes()[start:].decode(errors="replace")
    if code and not interrupt:
        lines = [line for line in printed.splitlines() if line.strip()]
        raise StepFailed(f"exit code {code}: {lines[-1] if lines else 'nothing printed'}")
    return printed


def _interrupt(
    process: subprocess.Popen[bytes], number: signal.Signals, reached: Callable[[], bool] | None
) -> None:
    after = time.monotonic() + INTERRUPT_AFTER_S
    while process.poll() is None and not (reached() if reached else time.monotonic() >= after):
        time.sleep(0.1)
    if process.poll() is None:
        os.killpg(process.pid, number)
    try:
        process.wait(KILL_AFTER_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def github_values(path: Path) -> dict[str, str]:
    """Return the lines `NAME=VALUE` of GITHUB_OUTPUT or GITHUB_ENV.

    Raises:
        RehearsalError: a line has another form.
    """
    values = {}
    for line in path.read_text().splitlines():
        name, sign, value = line.partition("=")
        if not sign or "<<" in name:
            raise RehearsalError(f"{path.name}: expected NAME=VALUE, got {line!r}")
        values[name] = value
    return values


def checkout(agent: Agent, origin: Path, commit: str, preinstalled: Mapping[str, Path]) -> None:
    """Check out a commit, and link what the agent has installed."""
    sources = str(agent.sources)
    for command in (
        ["clone", "--quiet", str(origin), sources],
        ["-C", sources, "checkout", "--quiet", "--detach", commit],
    ):
        subprocess.run(["git", *command], check=True)
    for name, path in preinstalled.items():
        (agent.sources / name).symlink_to(path)


def publish(source: Path, artifact: Path) -> None:
    """Publish a file or directory as an artifact.

    Raises:
        StepFailed: it does not exist, or the run has an artifact of that name.
    """
    if not source.exists():
        raise StepFailed(f"cannot publish {source.name}: it does not exist")
    if artifact.exists():
        raise StepFailed(f"artifact {artifact.name} already exists in this run")
    if source.is_dir():
        shutil.copytree(source, artifact)
    else:
        artifact.mkdir(parents=True)
        shutil.copy(source, artifact)


def download(artifact: Path, target: Path) -> None:
    """Download an artifact into a directory.

    Raises:
        StepFailed: the run has no such artifact.
    """
    if not artifact.is_dir():
        raise StepFailed(f"the run has no artifact {artifact.name}")
    shutil.copytree(artifact, target, dirs_exist_ok=True)


def remove(workspace: Path) -> None:
    """Remove a workspace. What an interrupted step left running may still write into it."""
    deadline = time.monotonic() + KILL_AFTER_S
    while workspace.exists() and time.monotonic() < deadline:
        shutil.rmtree(workspace, ignore_errors=True)
