"""Which files of a clone are the team's, and where the template's own are kept then.

A team edits these files freely, and `scripts/update` never changes them. Everything else is the template's.
`scripts/own` copies the template's own into RING, so that the template's tests can still run with its own
model, name and transform.
"""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
# A path that ends with a slash is a directory.
TEAM_FILES = (
    "service.toml",
    "app/transform.py",
    "model_store/",
    "model.lock",
    "model.pub",
    "gate.toml",
    "releases.jsonl",
    "deploy/overlays/",
    "azure-pipelines-variables.yml",
    "training/",
    "tests/training/",  # part: training
    "tests/own/",
    "README.md",
    "requirements-own.in",
    "requirements-own.txt",
)
# The template's own team files, at the same relative paths.
RING = "tests/template/"
# Trigger a pipeline by the name of a connection, which Azure Pipelines allows no expression in.
NAMED_PIPELINES = ("azure-pipelines.yml", "azure-pipelines-train.yml")
# Options of git for commits in temporary trees: they need no person's name, key or hooks.
IDENTITY = (
    "-c", "user.name=template", "-c", "user.email=template@example.com",
    "-c", "commit.gpgSign=false", "-c", "core.hooksPath=/dev/null",
)  # fmt: skip


class TemplateError(Exception):
    """A command on a clone was refused; the message says why."""


def is_team_file(path: str) -> bool:
    """Return whether a path, relative to the root, is the team's."""
    return any(path.startswith(each) if each.endswith("/") else path == each for each in TEAM_FILES)


def is_owned(root: Path = ROOT) -> bool:
    """Return whether a team has taken the clone over."""
    return (root / RING).is_dir()


def git(*args: str, cwd: Path = ROOT) -> str:
    """Run git and return what it prints.

    Raises:
        TemplateError: it fails; the message is git's.
    """
    command = ["git", *args]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise TemplateError(f"git {' '.join(args[:2])}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def listed_files(root: Path = ROOT) -> list[str]:
    """Return the files of a clone, also new ones, without those that git ignores."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=root)
    return [name for name in listed.split("\0") if name and (root / name).is_file()]


def copy_files(source: Path, target: Path, paths: Iterable[str]) -> None:
    """Copy files, by their paths relative to both directories."""
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / path, target / path, follow_symlinks=False)
