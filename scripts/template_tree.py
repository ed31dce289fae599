"""Run a command in a tree of the clone with the template's own model, name and transform.

In a clone that a team owns, the team's files are replaced there by those in `tests/template/`. Reports of
pytest go to the clone: paths in REPORTS, and everything that is written into `build/`.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.team_files import (
    IDENTITY,
    RING,
    ROOT,
    TemplateError,
    copy_files,
    git,
    is_team_file,
    listed_files,
)

# Options of pytest with the path of a report.
REPORTS = re.compile(r"(--junit-?xml=|--cov-report=[a-z-]+:|--report-log=)(.+)", re.DOTALL)
# Directory in the tree → the one in the clone that it links to: large ones, and caches.
LINKS = {".venv": ".venv", ".cache": ".cache", ".mypy_cache": ".mypy_cache"}


def main(argv: Sequence[str] | None = None) -> int:
    """Make the tree, run the command in it, and return its exit code."""
    program, *arguments = sys.argv[1:] if argv is None else argv
    with tempfile.TemporaryDirectory(prefix="template-") as directory:
        tree = Path(directory) / "template"
        try:
            make_tree(tree)
        except TemplateError as exc:
            print(f"template_tree: {exc}", file=sys.stderr)
            return 1
        command = [str(tree / program), *map(in_clone, arguments)]
        print(f"in {tree}, with the template's own model and name", file=sys.stderr, flush=True)
        code = subprocess.run(command, cwd=tree, check=False).returncode  # noqa: S603
        if (tree / "build").is_dir():
            shutil.copytree(tree / "build", ROOT / "build", dirs_exist_ok=True)
    return code


def make_tree(tree: Path, root: Path = ROOT) -> None:
    """Write a clone's files into a new repository, with the template's in place of the team's."""
    names = listed_files(root)
    copy_files(root, tree, (name for name in names if not name.startswith(RING) and not is_team_file(name)))
    ring = (name.removeprefix(RING) for name in names if name.startswith(RING))
    copy_files(root / RING, tree, ring)
    for name, target in LINKS.items():
        if name != ".venv":
            (root / target).mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to((root / target).resolve())
    git("init", "--quiet", cwd=tree)
    with (tree / ".git/info/exclude").open("a") as file:
        file.writelines(f"/{name}\n" for name in LINKS)
    git("add", "--all", cwd=tree)
    git(*IDENTITY, "commit", "--quiet", "--message", "The template", cwd=tree)


def in_clone(argument: str, root: Path = ROOT) -> str:
    """Return an argument with the path of a report in the clone, and that of a test in the tree."""
    if match := REPORTS.fullmatch(argument):
        return f"{match[1]}{root / match[2]}"
    return argument.removeprefix(f"{root}/")


if __name__ == "__main__":
    sys.exit(main())
