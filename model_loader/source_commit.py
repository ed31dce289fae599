"""The commit of the code that runs, for what it writes."""

import re
import subprocess
from pathlib import Path


def source_commit(directory: Path) -> str | None:
    """Return the commit that is checked out in `directory`; None if there is none or files were changed."""
    status = _git(directory, "--no-optional-locks", "status", "--porcelain=v2", "--branch")
    if not status:
        return None
    head, *rest = status.splitlines()
    is_clean = all(line.startswith("# ") for line in rest)
    return head.removeprefix("# branch.oid ") if is_clean else None


def commit_url(directory: Path, commit: str) -> str | None:
    """Return the page of a commit at GitHub or Azure DevOps; None if `origin` is somewhere else."""
    origin = (_git(directory, "remote", "get-url", "origin") or "").strip()
    host = r"(?:https://|ssh://)?(?:[^@/]+@)?"
    if match := re.fullmatch(rf"{host}github\.com[/:]([^/]+/[^/]+?)(?:\.git)?/?", origin):
        return f"https://github.com/{match[1]}/commit/{commit}"
    azure = rf"(?:{host}dev\.azure\.com/|git@ssh\.dev\.azure\.com:v3/)([^/]+/[^/]+)/(?:_git/)?([^/]+)/?"
    if match := re.fullmatch(azure, origin):
        return f"https://dev.azure.com/{match[1]}/_git/{match[2]}/commit/{commit}"
    return None


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        return subprocess.check_output(  # noqa: S603 - fixed commands
            ["git", *arguments],  # noqa: S607
            cwd=directory,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
