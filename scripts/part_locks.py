"""Remove from a lock file what no listed requirement needs any more, without asking an index."""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ENTRY = re.compile(r"\n(?=\S)")


def listed(text: str, path: Path) -> list[Requirement]:
    """Return the direct requirements of an .in file, also those of the files that it includes.

    Args:
        text: of the file.
        path: of the file.
    """
    found = []
    for line in text.splitlines():
        entry = line.partition("#")[0].strip()
        if match := re.match(r"-r (\S+)", entry):
            included = path.parent / match[1]
            found += listed(included.read_text(), included)
        elif entry and not entry.startswith("-"):
            found.append(Requirement(entry))
    return found


def reachable(roots: Iterable[Requirement]) -> set[str]:
    """Return the names of the packages that requirements need, as far as the environment has them.

    Environment markers are not evaluated: the lock is for every platform.
    """
    found: set[tuple[str, str]] = set()
    pending = [(canonicalize_name(root.name), extra) for root in roots for extra in ("", *root.extras)]
    while pending:
        name, extra = pending.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        try:
            needed = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue  # of another platform
        pending += [
            (canonicalize_name(item.name), wanted)
            for item in needed
            if _applies(item, extra)
            for wanted in ("", *item.extras)
        ]
    return {name for name, _ in found}


def pruned(lock: str, before: Iterable[Requirement], after: Iterable[Requirement]) -> tuple[str, list[str]]:
    """Return a lock without the packages that only removed requirements needed, and those packages' names.

    Args:
        lock: the content of the .txt file.
        before, after: the direct requirements.
    """
    gone = reachable(before) - reachable(after)
    entries = [entry for entry in ENTRY.split(lock) if entry.strip()]
    kept = [entry for entry in entries if _name(entry) not in gone]
    names = sorted({_name(entry) for entry in entries} & gone)
    text = "".join(entry if entry.endswith("\n") else f"{entry}\n" for entry in kept)
    return text, names


def packages(lock: str) -> set[str]:
    """Return the names of the packages that a lock pins."""
    return {_name(entry) for entry in ENTRY.split(lock) if entry.strip()}


def _name(entry: str) -> str:
    return canonicalize_name(re.split(r"[=\[ ]", entry, maxsplit=1)[0])


def _applies(requirement: Requirement, extra: str) -> bool:
    """Return whether a requirement is one of the package itself, or of its extra."""
    extras = re.findall(r"extra == ['\"]([^'\"]+)['\"]", str(requirement.marker or ""))
    return extra in extras if extras else not extra
