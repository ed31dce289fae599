"""The commit of the code that runs."""

import subprocess
from pathlib import Path

import pytest

from model_loader.source_commit import commit_url, source_commit


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


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("https://github.com/ada/wine.git", "https://github.com/ada/wine/commit/4be7"),
        ("https://ada:secret@github.com/ada/wine", "https://github.com/ada/wine/commit/4be7"),
        ("git@github.com:ada/wine.git", "https://github.com/ada/wine/commit/4be7"),
        ("https://o@dev.azure.com/o/p/_git/wine", "https://dev.azure.com/o/p/_git/wine/commit/4be7"),
        ("git@ssh.dev.azure.com:v3/o/p/wine", "https://dev.azure.com/o/p/_git/wine/commit/4be7"),
        ("https://github.com.example.com/ada/wine", None),
        ("/srv/git/wine", None),
        (None, None),
    ],
)
def test_commit_url(tmp_path: Path, origin: str | None, url: str | None) -> None:
    """A commit has a page where `origin` is known, without the credentials of its URL."""
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    if origin:
        subprocess.run(["git", "remote", "add", "origin", origin], cwd=tmp_path, check=True)
    assert commit_url(tmp_path, "4be7") == url
