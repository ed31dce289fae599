"""What git knows: whether a committed file was edited, and whether the clone has a commit."""

import subprocess
from pathlib import Path

from monitor.errors import MonitorError

TIMEOUT_S = 60


def edited_lines(path: Path) -> list[str]:
    """Return where committed lines of the log were changed or removed: commits, or the work tree.

    Lines are only ever appended, so that a commit that deletes one has edited the history.

    Raises:
        MonitorError: git is unavailable.
    """
    found = []
    command = ["log", "--format=commit %H", "--numstat", "--", path.name]
    commit = ""
    for line in _git(path, *command).splitlines():
        if line.startswith("commit "):
            commit = line.removeprefix("commit ")[:12]
        elif line and line.split("\t")[1] != "0":
            found.append(f"commit {commit}")
    changes = _git(path, "diff", "HEAD", "--numstat", "--", path.name)
    if changes and changes.split("\t")[1] != "0":
        found.append("the work tree")
    return found


def has_commit(path: Path, commit: str) -> bool:
    """Return whether the clone that has a file has a commit.

    Raises:
        MonitorError: git is unavailable.
    """
    text = _git(path, "cat-file", "--batch-check", text=f"{commit}^{{commit}}\n")
    return text.split()[1:2] == ["commit"]


def _git(path: Path, *arguments: str, text: str = "") -> str:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments], cwd=path.resolve().parent, input=text,
            capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT_S, check=True,
        )  # fmt: skip
    except subprocess.CalledProcessError as exc:
        raise MonitorError(f"git {arguments[0]} failed: {exc.stderr.strip()}") from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise MonitorError(f"git {arguments[0]} cannot be run: {exc}") from exc
    return done.stdout
