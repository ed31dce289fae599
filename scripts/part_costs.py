"""What each part costs: files, lines, pinned packages, and the size of its packages in the image."""

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from scripts.part_catalog import Part, read_parts, with_dependents
from scripts.part_locks import listed, packages, pruned
from scripts.part_markers import without_parts
from scripts.part_tree import contents, matching, read_removed, tracked

HEADER = ("part", "files", "lines", "packages", "MB of the image", "what")
LOCK = re.compile(r"requirements[a-z-]*\.txt$")
IN_IMAGE = re.compile(r"requirements(-tracing|-own)?\.txt")
# Locks that scripts install outside of .venv.
OWN_ENVIRONMENTS = ("benchmarks/", "deploy/")


def table(root: Path) -> str:
    """Return the table of `remove --list`."""
    parts, removed = read_parts(root), read_removed(root)
    texts = contents(root, tracked(root))
    rows = [_row(part, parts, removed, texts, root) for part in parts.values()]
    widths = [max(len(row[column]) for row in (HEADER, *rows)) for column in range(len(HEADER) - 1)]
    lines = []
    for row in (HEADER, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:], strict=True)]
        lines.append("  ".join([*cells, row[-1]]))
    return "\n".join(lines)


def _row(
    part: Part, parts: Mapping[str, Part], removed: Sequence[str], texts: Mapping[str, str], root: Path
) -> tuple[str, ...]:
    if part.name in removed:
        return (part.name, "-", "-", "-", "-", f"{part.what} (removed)")
    files = set(matching(texts, part.paths))
    after = {file: without_parts(text, [part.name]) for file, text in texts.items() if file not in files}
    lines = sum(
        _lines(text) - _lines(after.get(file, "")) for file, text in texts.items() if not LOCK.search(file)
    )
    locks = {file: text for file, text in texts.items() if LOCK.search(file)}
    left = {file: _pruned(file, text, texts, after, root) for file, text in locks.items() if file in after}
    gone = {
        lock: _environment(locks, lock) - _environment(left, lock) for lock in {*map(_environment_of, locks)}
    }
    image_bytes = sum(map(installed_bytes, gone.get("", ())))
    others = [name for name, reason in with_dependents(parts, [part.name], removed).items() if reason]
    what = part.what + (f"; {', '.join(others)} cannot do without it" if others else "")
    packages = len(set().union(*gone.values()))
    return (part.name, str(len(files)), str(lines), str(packages), f"{image_bytes / 1e6:.1f}", what)


def _lines(text: str) -> int:
    return len(text.splitlines())


def _environment_of(lock: str) -> str:
    """Return the environment that a lock is installed into; empty for the image."""
    if IN_IMAGE.fullmatch(lock):
        return ""
    return lock if lock.startswith(OWN_ENVIRONMENTS) else ".venv"


def _environment(locks: Mapping[str, str], environment: str) -> set[str]:
    """Return the packages of an environment; `.venv` has those of the image too."""
    found: set[str] = set()
    for lock, text in locks.items():
        if _environment_of(lock) in ({"", ".venv"} if environment == ".venv" else {environment}):
            found |= packages(text)
    return found


def _pruned(lock: str, text: str, before: Mapping[str, str], after: Mapping[str, str], root: Path) -> str:
    source = f"{lock.removesuffix('.txt')}.in"
    if source not in after or before[source] == after[source]:
        return text
    path = root / source
    return pruned(text, listed(before[source], path), listed(after[source], path))[0]


def installed_bytes(name: str) -> int:
    """Return the size of a package's files in this environment; 0 if it is not installed."""
    try:
        files = distribution(name).files or ()
    except PackageNotFoundError:
        return 0
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file())
