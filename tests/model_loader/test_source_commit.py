"""The commit of the code that runs."""

import subprocess
from pathlib import Path

from model_loader.source_commit import source_commit


def test_source_commit(tmp_path: Path) -> None:
    """The commit is recorded only if it contains exactly the files that were run."""
    assert source_commit(tmp_path) is None

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init")
    (tmp_path / "train.py").write_text("1")
    assert source_commit(tmp_path) is None
    git("add", ".")
    git("commit", "--message", "Train")
    assert source_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "train.py").write_text("2")
    assert source_commit(tmp_path) is None
