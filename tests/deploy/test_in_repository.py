"""`scripts/in_repository`: git authenticates to Azure Repos as the identity of `az`, and to nobody else."""

import os
import subprocess
from pathlib import Path

from tests.deploy.conftest import ROOT

SCRIPT = ROOT / "scripts/in_repository"
AZURE_REPOS = "https://example@dev.azure.com/example/shop/_git/shop"
HEADER = ("git", "config", "--get-urlmatch", "http.extraHeader")


def run(directory: Path, origin: str, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run the script in a clone of `origin`, with an `az` that prints a token."""
    subprocess.run(["git", "init", "-q", str(directory)], check=True)
    subprocess.run(["git", "-C", str(directory), "config", "remote.origin.url", origin], check=True)
    (directory / "az").write_text(
        '#!/bin/sh\ncase "$*" in *"get-access-token --resource 499b84ac-"*) echo t0ken ;; esac\n'
    )
    (directory / "az").chmod(0o755)
    environ = os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"}
    return subprocess.run(
        [SCRIPT, *command], cwd=directory, env=environ, capture_output=True, text=True, timeout=60
    )


def test_header(tmp_path: Path) -> None:
    """git sends the token to origin, in place of the job's, and to no other host."""
    key = f"http.{AZURE_REPOS}.extraheader"
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "config", key, "Authorization: Bearer job"], check=True)
    for url, header in (
        (AZURE_REPOS, "AUTHORIZATION: bearer t0ken"),
        ("https://github.com/example/shop", ""),
    ):
        assert run(tmp_path, AZURE_REPOS, *HEADER, url).stdout.strip() == header
    assert "t0ken" not in (tmp_path / ".git/config").read_text()


def test_elsewhere(tmp_path: Path) -> None:
    """With an origin elsewhere, git's credentials stay as they are."""
    done = run(tmp_path, "https://github.com/example/shop", "env")
    assert done.returncode == 0, done.stderr
    assert "GIT_CONFIG_COUNT" not in done.stdout


def test_exit_code(tmp_path: Path) -> None:
    """The command's exit code is the script's, and a missing command is an error."""
    assert run(tmp_path, AZURE_REPOS, "sh", "-c", "exit 3").returncode == 3
    done = run(tmp_path, AZURE_REPOS)
    assert (done.returncode, done.stderr) == (2, "usage: in_repository COMMAND…\n")
