"""The order of releases, by the commits of a real clone."""

import subprocess
from pathlib import Path

import pytest

from release.cluster import Object
from release.errors import ReleaseError
from release.order import check_order
from release.release_log import LOG_FILE, Release

IDENTITY = ("-c", "user.name=tester", "-c", "user.email=tester@example.com")


def git(*args: str, cwd: Path) -> str:
    """Run git and return its output."""
    return subprocess.check_output(["git", *args], cwd=cwd, text=True).strip()


def commit(tree: Path, message: str) -> str:
    """Commit and return the commit."""
    git(*IDENTITY, "commit", "--quiet", "--allow-empty", f"--message={message}", cwd=tree)
    return git("rev-parse", "HEAD", cwd=tree)


def deployment(commit: str | None, model: str = "tiny/1") -> Object:
    """Return a Deployment of a release."""
    name, version = model.split("/")
    labels = {"example.com/model-name": name, "example.com/model-version": version}
    annotations = {"example.com/commit": commit} if commit else {}
    return {"metadata": {"annotations": annotations}, "spec": {"template": {"metadata": {"labels": labels}}}}


@pytest.fixture
def commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return three commits of main and one of another branch. The working directory is a shallow clone."""
    origin = tmp_path / "origin"
    origin.mkdir()
    git("init", "--quiet", "--initial-branch=main", cwd=origin)
    commits = {name: commit(origin, name) for name in ("first", "second", "third")}
    git("checkout", "--quiet", "-b", "topic", commits["first"], cwd=origin)
    commits["topic"] = commit(origin, "topic")
    git("checkout", "--quiet", "main", cwd=origin)
    clone = (
        "clone",
        "--quiet",
        "--depth=1",
        "--no-single-branch",
        f"file://{origin}",
        str(tmp_path / "clone"),
    )
    git(*clone, cwd=tmp_path)
    monkeypatch.chdir(tmp_path / "clone")
    return commits


@pytest.mark.parametrize(
    ("running", "new", "remark"),
    [
        ("first", "third", None),
        ("third", "third", None),
        ("topic", "third", "is not part of the history of"),
        (None, "third", "its commit, none, is not in origin"),
        ("f" * 40, "third", "is not in origin"),
    ],
)
def test_newer(commits: dict[str, str], running: str | None, new: str, remark: str | None) -> None:
    """A newer commit may be released; if the two cannot be compared, a remark says so."""
    commit = commits.get(running, running) if running else None
    result = check_order(deployment(commit), deployment(commits[new]), is_recorded=True)
    assert (result is None) if remark is None else (remark in (result or ""))


@pytest.mark.parametrize(("running", "new"), [("third", "second"), ("second", "first"), ("topic", "first")])
def test_older(commits: dict[str, str], running: str, new: str) -> None:
    """An older commit is refused, also in a shallow clone."""
    with pytest.raises(
        ReleaseError, match=f"commit {commits[new][:12]} is older than {commits[running][:12]}"
    ):
        check_order(deployment(commits[running]), deployment(commits[new]), is_recorded=True)


@pytest.mark.parametrize(
    ("running", "new", "refused"),
    [
        ("tiny/2", "tiny/1", True),
        ("tiny/2", "tiny/2", False),
        ("tiny/2", "tiny/10", False),
        ("tiny/2", "other/1", False),
    ],
)
def test_model(running: str, new: str, refused: bool) -> None:
    """From the same commit, a lower version of the same model is older."""
    if not refused:
        assert check_order(deployment("a" * 40, running), deployment("a" * 40, new), is_recorded=True) is None
        return
    with pytest.raises(ReleaseError, match=f"model {new} is older than {running}, which runs"):
        check_order(deployment("a" * 40, running), deployment("a" * 40, new), is_recorded=True)


@pytest.mark.parametrize(
    ("recorded", "is_recorded", "model", "refused"),
    [
        (1, True, "tiny/1", True),  # built before tiny/2 was released
        (2, True, "tiny/1", False),  # built after that, so the older model is on purpose
        (1, True, "tiny/3", False),
        (1, True, "other/1", False),
        (1, False, "tiny/1", False),  # staging: tiny/2 may never be released
    ],
)
def test_older_model_in_a_newer_commit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recorded: int,
    is_recorded: bool,
    model: str,
    refused: bool,
) -> None:
    """A newer commit may have an older model only if it was built after the running one was released."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet", "--initial-branch=main", cwd=tmp_path)
    git("remote", "add", "origin", str(tmp_path), cwd=tmp_path)
    running = deployment(commit(tmp_path, "first"), "tiny/2")
    digest = f"sha256:{'1' * 64}"
    releases = [
        Release("2026-01-01T00:00:00Z", "0" * 40, f"r@{digest}", f"tiny/{version}@{digest}", "me")
        for version in range(1, recorded + 1)
    ]
    Path(LOG_FILE).write_text("".join(release.to_line() for release in releases))
    git("add", LOG_FILE, cwd=tmp_path)
    new = deployment(commit(tmp_path, "second"), model)
    if not refused:
        assert check_order(running, new, is_recorded=is_recorded) is None
        return
    with pytest.raises(ReleaseError, match=r"tiny/1 is older than tiny/2, which runs: .* was built before"):
        check_order(running, new, is_recorded=is_recorded)


def test_unknown_commit(commits: dict[str, str]) -> None:
    """A new release whose commit the clone does not have is refused."""
    with pytest.raises(ReleaseError, match="the clone does not have the commit ffff"):
        check_order(deployment(commits["first"]), deployment("f" * 40), is_recorded=True)


def test_origin_unreachable(commits: dict[str, str], tmp_path: Path) -> None:
    """If origin is unreachable, nothing is released."""
    (tmp_path / "origin").rename(tmp_path / "elsewhere")
    with pytest.raises(ReleaseError, match="git fetch failed"):
        check_order(deployment(commits["first"]), deployment(commits["third"]), is_recorded=True)
