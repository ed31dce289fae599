"""The commands and files that developers use: .editorconfig, downloads, Renovate, the dev container."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import editorconfig
from scripts.part_tree import read_removed

ROOT = Path(__file__).parents[1]
CONFIG = """\
root = true

[*]
charset = utf-8
end_of_line = lf
indent_style = space
insert_final_newline = true
trim_trailing_whitespace = true

[{kept/**,*.min.js}]
trim_trailing_whitespace = unset
"""
LOCKS = [path for path in ROOT.glob("**/requirements*.txt") if path.with_suffix(".in").is_file()]
VENV = re.compile(r"^scripts/venv (.*)$", re.MULTILINE)
INSTALLED = VENV.findall((ROOT / "scripts/lint").read_text())[0].split()  # by whoever runs the tests
REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==", re.MULTILINE)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with an .editorconfig."""
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / ".editorconfig").write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb \n", "line 2: ends with whitespace"),
        (b"a\r\n", "line 1: expected LF, found CR"),
        (b"a", "expected a newline at the end"),
        (b"a\n\tb\n", "line 2: expected spaces, found a tab"),
        (b"\xff\n", "expected UTF-8, found byte 0xff at offset 0"),
    ],
    ids=["whitespace", "line end", "final newline", "tab", "charset"],
)
def test_violation(
    repository: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    """A violation is reported with the file's name and the line."""
    (repository / "file.txt").write_bytes(content)
    assert editorconfig.main([], repository) == 1
    assert capsys.readouterr().err == f"file.txt: {message}\n"


def test_files_that_pass(repository: Path) -> None:
    """Empty files, binary files, ignored files, and files that a section excepts pass."""
    (repository / "empty").touch()
    (repository / "binary").write_bytes(b"\x00 \r\n\t")
    (repository / ".gitignore").write_text("ignored\n")
    (repository / "ignored").write_text("a ")
    (repository / "kept/deep").mkdir(parents=True)
    (repository / "kept/deep/file").write_text("a \n")
    (repository / "x.min.js").write_text("a \n")
    assert editorconfig.main([], repository) == 0


def test_fix(repository: Path) -> None:
    """`--fix` corrects line ends, whitespace and the final newline, and nothing in excepted files."""
    (repository / "file").write_bytes("ä \r\nb".encode())
    (repository / "x.min.js").write_text("a \n")
    assert editorconfig.main(["--fix"], repository) == 0
    assert (repository / "file").read_bytes() == "ä\nb\n".encode()
    assert (repository / "x.min.js").read_text() == "a \n"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_lock_files(lock: Path) -> None:
    """A lock file starts with the command that makes it, which Renovate runs, and pins what its .in names."""
    command = lock.read_text().splitlines()[1].removeprefix("#    ").split()
    assert command[:3] == ["uv", "pip", "compile"]
    assert command[-2:] == [f"--output-file={lock.name}", lock.with_suffix(".in").name]
    assert {"--universal", "--generate-hashes", "--exclude-newer=P7D"} <= set(command)
    pinned = {name.lower().replace("_", "-") for name in REQUIREMENT.findall(lock.read_text())}
    named = re.findall(r"^[A-Za-z][A-Za-z0-9_.-]*", lock.with_suffix(".in").read_text(), re.MULTILINE)
    assert named
    assert {name.lower().replace("_", "-") for name in named} <= pinned


def installed_bytes(name: str) -> int:
    """Return the size of an installed package; 0 if it is not for this Python or system."""
    try:
        files = importlib.metadata.files(name)
    except importlib.metadata.PackageNotFoundError:
        return 0
    return sum(file.size or 0 for file in files or [])


@pytest.mark.parametrize("name", INSTALLED)
def test_sizes(name: str) -> None:
    """The size that `scripts/venv` announces is right within a third, or too large without a part."""
    lock = ROOT / name
    size = sum(map(installed_bytes, set(REQUIREMENT.findall(lock.read_text())))) / 1e6
    said = re.search(r"^# Size: (\d+) MB$", lock.with_suffix(".in").read_text(), re.MULTILINE)
    assert said
    assert size * 2 / 3 <= int(said[1])
    assert int(said[1]) <= size * 3 / 2 or read_removed(ROOT)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A directory with `scripts/venv`, a lock file, and an environment whose pip prints its arguments."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/venv", tmp_path / "scripts")
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$1" = -c ] || echo "$@"\n')
    python.chmod(0o755)
    (tmp_path / "requirements.in").write_text("# What the service needs.\n# Size: 12 MB\nflask\n")
    (tmp_path / "requirements.txt").write_text("# made by uv\nflask==1\n")
    return tmp_path


def venv(directory: Path) -> str:
    """Run `scripts/venv requirements.txt` and return what it prints."""
    command = [str(directory / "scripts/venv"), "requirements.txt"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ).stderr


def test_download(environment: Path) -> None:
    """The first installation says what is downloaded, how much and what for; the next one is silent."""
    printed = venv(environment)
    assert "downloading pinned packages" in printed
    assert "  requirements.txt, 12 MB: What the service needs.\n" in printed
    assert "--requirement=requirements.txt" in printed
    assert venv(environment) == ""


@pytest.mark.parametrize(
    ("content", "installs"), [("# made again\nflask==1\n", False), ("# made by uv\nflask==2\n", True)]
)
def test_changed_lock(environment: Path, content: str, installs: bool) -> None:
    """A changed pin is installed; a changed comment is not."""
    venv(environment)
    (environment / "requirements.txt").write_text(content)
    assert bool(venv(environment)) is installs


def test_renovate() -> None:
    """Every update waits a week, and the patterns name every lock file."""
    config = json.loads((ROOT / "renovate.json").read_text())
    assert config["minimumReleaseAge"] == "7 days"
    (pattern,) = config["pip-compile"]["managerFilePatterns"]
    assert all(re.search(pattern.strip("/"), str(path.relative_to(ROOT))) for path in LOCKS)


def test_dev_container() -> None:
    """The dev container installs what `scripts/lint` and `scripts/test` install, and forwards the port."""
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["postCreateCommand"].endswith(f"scripts/venv {' '.join(INSTALLED)}")
    assert container["forwardPorts"] == [8080]
