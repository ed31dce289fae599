"""The files of a clone, and the list of removed parts in service.toml."""

import re
import subprocess
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from scripts.part_catalog import PartError, read_toml

SERVICE_FILE = "service.toml"
REMOVED = re.compile(r"^removed = \[[^\]]*\]", re.MULTILINE)


def tracked(root: Path) -> list[str]:
    """Return the files of the clone that git knows and that exist.

    Raises:
        PartError: git fails, as where there is no repository.
    """
    command = ["git", "ls-files", "-z", "--cached"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise PartError(f"git ls-files failed: {done.stderr.strip()}")
    return [name for name in dict.fromkeys(done.stdout.split("\0")) if name and (root / name).is_file()]


def matching(files: Iterable[str], paths: Sequence[str]) -> list[str]:
    """Return the files that are one of the paths, match one, or are in a directory (with a slash)."""
    directories = tuple(path for path in paths if path.endswith("/"))
    patterns = [path for path in paths if "*" in path]
    return [
        file
        for file in files
        if file in paths
        or (directories and file.startswith(directories))
        or any(fnmatchcase(file, pattern) for pattern in patterns)
    ]


def contents(root: Path, files: Iterable[str]) -> dict[str, str]:
    """Return file → text, without the files that are not text."""
    texts = {}
    for file in files:
        data = (root / file).read_bytes()
        if b"\0" not in data:
            try:
                texts[file] = data.decode()
            except UnicodeDecodeError:
                continue
    return texts


def read_removed(root: Path) -> list[str]:
    """Return the parts that were removed, from service.toml.

    Raises:
        PartError: the file does not exist, is not TOML, or lacks the list.
    """
    removed = read_toml(root / SERVICE_FILE).get("removed")
    if not isinstance(removed, list):
        raise PartError(f"{SERVICE_FILE}: removed is {removed!r}: expected a list of parts")
    return [str(name) for name in removed]


def with_removed(service_file: str, names: Sequence[str]) -> str:
    """Return the text of service.toml with a list of removed parts; every other line stays as it is.

    Raises:
        PartError: it has no such list.
    """
    items = ", ".join(f'"{name}"' for name in names)
    text, count = REMOVED.subn(f"removed = [{items}]", service_file)
    if count != 1:
        raise PartError(f"{SERVICE_FILE}: expected one line that begins with `removed = [`, got {count}")
    return text
