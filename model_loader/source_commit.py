"""The commit of the code that runs, for what it writes."""

import subprocess
from pathlib import Path


def source_commit(directory: Path) -> str | None:
    """Return the commit that is checked out in `directory`; None if there is none or files were changed."""
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch"]
    try:
        status = subprocess.check_output(  # noqa: S603 - a fixed command
            command, cwd=directory, stderr=subprocess.DEVNULL, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    head, *rest = status.splitlines()
    is_clean = all(line.startswith("# ") for line in rest)
    return head.removeprefix("# branch.oid ") if is_clean else None
