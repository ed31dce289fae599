"""The branch of `origin` that releases are committed to.

The clone's work tree, index and branches stay untouched.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from release.errors import ReleaseError
from release.subprocesses import run

BRANCH = "main"
ATTEMPTS = 10


def fetch() -> str:
    """Fetch the branch and return its latest commit.

    Raises:
        ReleaseError: origin is unreachable, or has no such branch.
    """
    name = f"refs/heads/{BRANCH}"
    commit, _, _ = _git("ls-remote", "origin", name).partition("\t")
    if not commit:
        raise ReleaseError(f"origin has no branch {BRANCH}")
    # FETCH_HEAD is not used, because another command may be running in the same clone.
    _git("fetch", "--quiet", "--no-write-fetch-head", "--refmap=", "origin", name)
    return commit


def read(commit: str, path: str) -> str | None:
    """Return the text of a file in a commit, or None if the commit does not have it."""
    if not _git("ls-tree", "--name-only", commit, "--", path):
        return None
    return _git("cat-file", "blob", f"{commit}:{path}")


def write(change: Callable[[str], Mapping[str, str]], message: str, author: str) -> str:
    """Commit files on top of the branch and push the commit; retry if somebody else pushed in between.

    Args:
        change: takes the commit to build on; returns the new texts by path.
        author: name for the commit if git has no user configured.

    Returns:
        The commit that has the files. If the branch has them already, its latest commit.

    Raises:
        ReleaseError: origin rejects the push; nothing was written.
    """
    for attempt in range(ATTEMPTS):
        tip = fetch()
        files = {path: text for path, text in change(tip).items() if read(tip, path) != text}
        if not files:
            return tip
        commit = _commit(tip, files, message, author)
        try:
            _git("push", "--quiet", "origin", f"{commit}:refs/heads/{BRANCH}")
        except ReleaseError:
            time.sleep(random.uniform(0, 0.1 * 2 ** min(attempt, 4)))  # noqa: S311  (spreads concurrent writers)
            if fetch() == tip:
                raise
        else:
            return commit
    raise ReleaseError(f"origin/{BRANCH} changed during each of {ATTEMPTS} attempts to push: try again")


def fetch_history() -> None:
    """Fetch the branch with all of its commits, which a clone of a build agent may lack.

    Raises:
        ReleaseError: origin is unreachable, or has no such branch.
    """
    complete = () if _git("rev-parse", "--is-shallow-repository").strip() == "false" else ("--unshallow",)
    _git("fetch", "--quiet", *complete, "origin", f"refs/heads/{BRANCH}")


def has_commit(commit: str) -> bool:
    """Return whether the clone has a commit."""
    return _git("cat-file", "--batch-check", text=f"{commit}^{{commit}}\n").split()[1:2] == ["commit"]


def contains(tip: str, commit: str) -> bool:
    """Return whether a commit is `tip` or one of its ancestors. The clone must have both."""
    return not _git("rev-list", "--max-count=1", commit, "--not", tip)


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Check a commit out into a temporary directory, which is removed at the end of the block."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _commit(parent: str, files: Mapping[str, str], message: str, author: str) -> str:
    with tempfile.TemporaryDirectory() as directory:
        index = {"GIT_INDEX_FILE": str(Path(directory) / "index")}
        _git("read-tree", parent, environ=index)
        for path, text in files.items():
            blob = _git("hash-object", "-w", "--stdin", text=text).strip()
            _git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", environ=index)
        tree = _git("write-tree", environ=index).strip()
    return _git(*_identity(author), "commit-tree", tree, "-p", parent, "-m", message).strip()


def _identity(author: str) -> list[str]:
    """Return git options that set the committer if none is configured, as on a build agent."""
    if _git("config", "--default", "", "--get", "user.email").strip():
        return []
    return ["-c", f"user.name={author}", "-c", "user.email=release@localhost"]


def _git(*args: str, text: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    # Fail instead of waiting for a password, which nobody can enter on a build agent.
    return run("git", *args, text=text, environ={"GIT_TERMINAL_PROMPT": "0", **(environ or {})})
