"""Remove parts of a clone: their files, the lines that are marked as theirs, their requirements."""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from scripts.own import TRAINING
from scripts.part_catalog import PartError, read_parts, with_dependents
from scripts.part_costs import table
from scripts.part_locks import listed, pruned
from scripts.part_markers import MarkerError, anchors, without_parts, without_paths
from scripts.part_tree import SERVICE_FILE, contents, matching, read_removed, tracked, with_removed
from scripts.team_files import RING, is_team_file

ROOT = Path(__file__).parents[1]
UNDO = "`git restore --staged --worktree .` undoes a removal"


def remove(root: Path, names: Sequence[str], removed: Sequence[str]) -> list[str]:
    """Remove parts from the work tree; return the sentences that say what was done.

    Args:
        names: the parts, with what needs them.
        removed: all parts that are gone then, for service.toml.

    Raises:
        PartError: a marker has no counterpart, or service.toml lacks its list: nothing is changed then; or a
            table of the documents cannot be generated afterwards.
    """
    parts = read_parts(root)
    files = tracked(root)
    paths = [f"{prefix}{path}" for name in names for path in parts[name].paths for prefix in ("", RING)]
    of_parts = matching(files, paths)
    own = [file for file in of_parts if _is_own(root, file)]
    removed_files = set(of_parts) - {*own}
    kept = [file for file in files if file not in removed_files]
    texts = contents(root, kept)
    changed = {file: _without_parts(file, text, names) for file, text in texts.items()}
    service_file = with_removed(changed[SERVICE_FILE], removed)
    pages = {file: text for file, text in changed.items() if file.endswith(".md")}
    removed_anchors = {
        f"{file.removeprefix(RING)}#{anchor}"
        for file, text in pages.items()
        for anchor in anchors(texts[file]) - anchors(text)
    }
    folders = {f"{folder}/" for file in removed_files for folder in Path(file).parents}
    gone = {path for path in {*paths, *removed_files, *folders} if not matching(kept, [path])}
    for file, text in pages.items():
        changed[file] = without_paths(text, file.removeprefix(RING), gone, removed_anchors)
    changed = {file: text for file, text in changed.items() if text != texts[file]}
    locks = _pruned_locks(root, texts, changed)

    for file in removed_files:
        (root / file).unlink()
    _remove_empty(root, {Path(file).parent for file in removed_files})
    for file, text in (changed | locks).items():
        (root / file).write_text(text)
    (root / SERVICE_FILE).write_text(service_file)
    _tidy(root, [file for file in changed if file.endswith(".py")])
    return [
        f"removed {', '.join(names)}: {len(removed_files)} files, lines of {len(changed)} others",
        *([f"left, as they are yours: {', '.join(own)}"] if own else []),
        *(
            f"{file}: {len(_entries(texts[file])) - len(_entries(text))} fewer"
            for file, text in locks.items()
        ),
    ]


def _is_own(root: Path, file: str) -> bool:
    """Return whether a team has written a file itself: it is not as `scripts/own` has left it."""
    if not (root / RING).is_dir() or not is_team_file(file):
        return False
    template, content = root / RING / file, (root / file).read_bytes()
    return content != TRAINING.encode() and not (template.is_file() and template.read_bytes() == content)


def _without_parts(file: str, text: str, names: Collection[str]) -> str:
    try:
        return without_parts(text, names)
    except MarkerError as exc:
        raise PartError(f"{file}: {exc}") from exc


def _pruned_locks(root: Path, texts: dict[str, str], changed: dict[str, str]) -> dict[str, str]:
    """Return the lock files that change with the requirements."""
    locks = {}
    for file, text in changed.items():
        lock = f"{file.removesuffix('.in')}.txt"
        if file.endswith(".in") and lock in texts:
            path = root / file
            locks[lock] = pruned(texts[lock], listed(texts[file], path), listed(text, path))[0]
    return {file: text for file, text in locks.items() if text != texts[file]}


def _entries(lock: str) -> list[str]:
    return re.findall(r"^\S", lock, re.MULTILINE)


def _remove_empty(root: Path, directories: set[Path]) -> None:
    """Remove directories in which nothing but byte code is left, and those above them."""
    for directory in sorted(directories, key=lambda path: len(path.parts), reverse=True):
        path = root / directory
        while path != root and path.is_dir():
            if any(entry.name != "__pycache__" for entry in path.iterdir()):
                break
            shutil.rmtree(path)
            path = path.parent


def _tidy(root: Path, files: Sequence[str]) -> None:
    """Remove imports that nothing uses any more, format, and generate the tables of the documents."""
    ruff = [sys.executable, "-m", "ruff"]
    if files:
        _run(root, *ruff, "check", "--quiet", "--fix", "--exit-zero", "--select", "F401,I", *files)
        _run(root, *ruff, "format", "--quiet", *files)
    _run(root, sys.executable, "-m", "scripts.docs")


def _run(root: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)  # noqa: S603  (constants)
    if done.returncode:
        raise PartError(
            f"{' '.join(command[:4])} failed: {(done.stderr or done.stdout).strip()}. "
            f"The files are removed: {UNDO}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="remove", description="Remove parts of the clone.")
    parser.add_argument("parts", nargs="*", metavar="PART", help="see --list")
    parser.add_argument("--list", action="store_true", help="print the parts and what each costs")
    parser.add_argument("--again", action="store_true", help="remove what service.toml lists as removed")
    args = parser.parse_args(argv)
    if args.list + args.again + bool(args.parts) != 1:
        parser.error("expected parts, --list or --again")
    try:
        if args.list:
            print(table(ROOT))
        else:
            print("\n".join(_remove(args.parts, is_again=args.again)))
    except (PartError, MarkerError) as exc:
        print(f"remove: {exc}", file=sys.stderr)
        return 1
    return 0


def _remove(names: Sequence[str], *, is_again: bool) -> list[str]:
    parts, before = read_parts(ROOT), read_removed(ROOT)
    if is_again:
        found = with_dependents(parts, [name for name in before if name in parts], [])
        removed = [*before, *(name for name in found if name not in before)]
        return remove(ROOT, list(found), removed) if found else ["nothing to remove"]
    command = ["git", "status", "--porcelain", "--untracked-files=no"]
    status = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    if status.stdout:
        changes = status.stdout.splitlines()
        raise PartError(
            f"the clone has uncommitted changes, such as {changes[0][3:]}: commit them first, so that {UNDO}"
        )
    found = with_dependents(parts, names, before)
    said = [f"{name} is removed too: it needs {reason}" for name, reason in found.items() if reason]
    if set(found) <= set(before):
        return [f"{', '.join(found)}: removed before"]
    new = [*before, *(name for name in found if name not in before)]
    return said + remove(ROOT, list(found), new) + [f"see `git diff {SERVICE_FILE}`, and commit"]


if __name__ == "__main__":
    sys.exit(main())
