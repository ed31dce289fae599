"""The branch that releases are written to. Neither the work tree nor a branch of the clone is touched."""

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
    """The commit that the branch is at now, in this clone too.

    Raises:
        ReleaseError: origin cannot be reached, or has no such branch.
    """
    _git("fetch", "--quiet", "origin", f"refs/heads/{BRANCH}")
    return _git("rev-parse", "FETCH_HEAD").strip()


def read(commit: str, path: str) -> str | None:
    """A file as it is in a commit, or None where there is none."""
    if not _git("ls-tree", "--name-only", commit, "--", path):
        return None
    return _git("cat-file", "blob", f"{commit}:{path}")


def write(change: Callable[[str], Mapping[str, str]], message: str, author: str) -> str:
    """Commits files on top of the branch and pushes that; again where somebody else pushed in between.

    Args:
        change: gives the files' texts, by path, on top of the commit that it is given.
        author: of the commit, where git knows nobody.

    Returns:
        The commit that has the files; where they were so already, the one that was there.

    Raises:
        ReleaseError: origin refuses; nothing was written.
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
            time.sleep(random.uniform(0, 0.1 * 2 ** min(attempt, 4)))  # noqa: S311  (it spreads the writers)
            if fetch() == tip:
                raise
        else:
            return commit
    raise ReleaseError(f"origin/{BRANCH} moves all the time: try again")


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A directory with the files of a commit, until the block ends."""
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
    """Who commits, where nobody is configured, as on a build agent."""
    if _git("config", "--default", "", "--get", "user.email").strip():
        return []
    return ["-c", f"user.name={author}", "-c", "user.email=scorebox@localhost"]


def _git(*args: str, text: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    # A build agent has nobody who could type a password.
    return run("git", *args, text=text, environ={"GIT_TERMINAL_PROMPT": "0", **(environ or {})})
