"""Merge a newer template into a clone that a team owns.

The template's last version and the new one are first made like this clone: with its team files, its name and
without its removed parts. What is left between the two is merged, so that only changes of the same lines, by
the team and by the template, are conflicts.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from model_loader.errors import LoaderError
from model_loader.package.service_file import read_service_file
from scripts.own import copy_to_ring, remove, rename_connections
from scripts.team_files import (
    IDENTITY,
    ROOT,
    TEAM_FILES,
    TemplateError,
    copy_files,
    git,
    is_owned,
    is_team_file,
    listed_files,
)

REMOTE = "template"
UP_TO_DATE = 3
REPORT = Path("build/update.md")
SERVICE_FILE = Path("service.toml")
VERSION = re.compile(r'^TEMPLATE_VERSION = "(.+)"', re.MULTILINE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code: UP_TO_DATE if there is nothing to merge."""
    parser = argparse.ArgumentParser(prog="update", description="Merge a newer template.")
    parser.add_argument("reference", metavar="REF", help="of the remote `template`")
    args = parser.parse_args(argv)
    try:
        return update(args.reference)
    except (TemplateError, LoaderError) as exc:
        print(f"update: {exc}", file=sys.stderr)
        return 1


def update(reference: str, root: Path = ROOT) -> int:
    """Merge a commit of the template, and commit the result unless there are conflicts.

    Raises:
        TemplateError: the clone is not owned or not clean, has no remote or no history in common with the
            template, or has conflicts.
    """
    new = _fetch(reference, root)
    if git("rev-list", f"HEAD..{new}", cwd=root) == "":
        print(f"update: this clone has the template's {reference} already")
        return UP_TO_DATE
    old = git("merge-base", "HEAD", new, cwd=root).strip()
    with tempfile.TemporaryDirectory(prefix="update-") as directory:
        ours = [like_clone(commit, Path(directory) / commit, root) for commit in (old, new)]
    report = _report(old, new, root)
    merged = subprocess.run(  # noqa: S603
        ["git", "merge-recursive", ours[0], "--", "HEAD", ours[1]],  # noqa: S607
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if merged.returncode not in (0, 1):
        raise TemplateError(f"git cannot merge, and has changed nothing: {merged.stderr.strip()}")
    # With this, `git commit` makes a merge, also after a person has resolved conflicts.
    git_path = Path(git("rev-parse", "--git-dir", cwd=root).strip())
    title = f"Update the template to {_version(new, root)}"
    (root / git_path / "MERGE_HEAD").write_text(f"{new}\n")
    (root / git_path / "MERGE_MSG").write_text(f"{title}\n\n{new}\n")
    (root / REPORT).parent.mkdir(exist_ok=True)
    (root / REPORT).write_text(report)
    conflicts = git("diff", "--name-only", "--diff-filter=U", cwd=root).split()
    if conflicts or merged.returncode:
        raise TemplateError(
            f"{len(conflicts)} files have conflicts: {', '.join(conflicts)}. "
            "Resolve them, `git add` and `git commit`, then run ./scripts/lint and ./scripts/test; or go "
            f"back with `git merge --abort`. {REPORT} says what else the update needs"
        )
    git("commit", "--quiet", "--no-edit", cwd=root)
    print(f"update: {title.lower()}, in commit {git('rev-parse', 'HEAD', cwd=root)[:10]}")
    return 0


def like_clone(commit: str, tree: Path, root: Path) -> str:
    """Return a commit of the template with this clone's team files and name, without its removed parts."""
    git("worktree", "prune", cwd=root)
    git("worktree", "add", "--quiet", "--detach", str(tree), commit, cwd=root)
    try:
        clone = read_service_file(root / SERVICE_FILE)
        # Only the name: a newer template may have keys that this version does not know.
        name = str(tomllib.loads((tree / SERVICE_FILE).read_text())["name"])
        copy_to_ring(tree)
        rename_connections(tree, name, clone.name)
        for path in TEAM_FILES:
            remove(tree / path)
        copy_files(root, tree, filter(is_team_file, listed_files(root)))
        git("add", "--all", cwd=tree)
        if clone.removed:
            _remove_parts(tree, root)
            git("add", "--all", cwd=tree)
        git(*IDENTITY, "commit", "--quiet", "--allow-empty", "--no-verify", "--message", commit, cwd=tree)
        return git("rev-parse", "HEAD", cwd=tree).strip()
    finally:
        git("worktree", "remove", "--force", str(tree), cwd=root)


def _fetch(reference: str, root: Path) -> str:
    """Return the commit that a name of the template means.

    Raises:
        TemplateError: see `update`.
    """
    if not is_owned(root):
        raise TemplateError("this clone is not a team's yet: run ./scripts/own NAME")
    if changed := git("status", "--porcelain", "--untracked-files=no", cwd=root).splitlines():
        raise TemplateError(
            f"expected a clean clone, got {len(changed)} changed files, {changed[0][3:]!r} first: commit or "
            "stash them; after an interrupted update, `git reset --hard` removes what it has changed"
        )
    if REMOTE not in git("remote", cwd=root).split():
        raise TemplateError(f"there is no remote {REMOTE!r}: git remote add {REMOTE} <the template's URL>")
    # Without its tags: a team's images are named after the team's own.
    git("fetch", "--quiet", "--no-tags", REMOTE, reference, cwd=root)
    new = git("rev-parse", "FETCH_HEAD^{commit}", cwd=root).strip()
    try:
        git("merge-base", "HEAD", new, cwd=root)
    except TemplateError as exc:
        raise TemplateError(
            "this clone has no history in common with the template, as after a copy without git: tell git "
            "which commit it was copied from, `git fetch template <commit>` and `git merge --strategy ours "
            "--allow-unrelated-histories FETCH_HEAD`, and run this again"
        ) from exc
    return new


def _remove_parts(tree: Path, root: Path) -> None:
    """Remove the parts that the clone has removed, as the tree's own version of scripts/remove does it."""
    (tree / ".venv").symlink_to((root / ".venv").resolve())
    # The script first installs what this version of the template needs and the clone's may not have.
    done = subprocess.run(
        ["scripts/remove", "--again"],  # noqa: S607
        cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    (tree / ".venv").unlink()
    if done.returncode:
        raise TemplateError(f"the removed parts cannot be removed again: {done.stderr.strip()}")


def _version(commit: str, root: Path) -> str:
    """Return the template's version in a commit."""
    text = git("show", f"{commit}:model_loader/package/service_file.py", cwd=root)
    found = VERSION.search(text)
    return found[1] if found else commit[:10]


def _report(old: str, new: str, root: Path) -> str:
    """Return, in Markdown, what a person should look at after an update."""
    lines = [f"# From the template's {_version(old, root)} to {_version(new, root)}", ""]
    todo = [item for item in _what_to_do(new, root) if item not in _what_to_do(old, root)]
    lines += ["## Required changes, from CHANGELOG.md", "", *(todo or ["Nothing."]), ""]
    changed = git("diff", "--name-only", old, new, "--", *TEAM_FILES, cwd=root).split()
    lines += ["## Files of yours that have changed in the template", ""]
    lines += [f"- `{path}`: `git diff {old[:10]} {new[:10]} -- {path}`" for path in changed]
    if changed:
        lines += ["", "Yours are as they were; the template's are in `tests/template/`."]
    return "\n".join([*lines, *([] if changed else ["None."]), ""])


def _what_to_do(commit: str, root: Path) -> list[str]:
    """Return the items of a commit's changelog that ask for something."""
    text = git("show", f"{commit}:CHANGELOG.md", cwd=root)
    items = re.split(r"\n(?=- |#)", text)
    return [item.strip() for item in items if item.startswith("- ") and "**What to do**" in item]


if __name__ == "__main__":
    sys.exit(main())
