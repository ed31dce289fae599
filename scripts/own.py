"""Make a fresh clone a team's own, in one commit.

The commit is made in a work tree of its own, and the clone moves to it at the end: whatever ends this before,
the clone is as it was.
"""

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from model_loader.errors import LoaderError
from model_loader.package.service_file import NAME, RULES, read_service_file
from scripts.team_files import (
    NAMED_PIPELINES,
    RING,
    ROOT,
    TemplateError,
    copy_files,
    git,
    is_owned,
    is_team_file,
    listed_files,
)

SERVICE_FILE = "service.toml"
VARIABLES_FILE = "azure-pipelines-variables.yml"
# Files of the sample model: the model, its gate, its training, and their tests.
SAMPLE = ("model_store/", "model.lock", "gate.toml", "releases.jsonl", "training/", "tests/training/")
README = """\
# {name}

An ONNX scoring service. `POST /score` answers.

```
./scripts/serve        # the latest model in the store, on port 8080
./scripts/test --own   # this service's model, transform and image, in a minute
./scripts/test         # the template's tests as well
```

| path | content |
|---|---|
| `service.toml` | the service's name, and what follows from it |
| `model_store/`, `model.lock`, `gate.toml` | the models, this commit's one, limits for the next |
| `app/transform.py` | pre- and post-processing |
| `tests/own/` | this service's tests |
| `deploy/overlays/` | its Kubernetes settings |

[docs/clone.md](docs/clone.md) lists what is ours and what is the template's, and says how to take updates.
"""
TRAINING = """\
# Training

Your training goes here: `./scripts/train` runs `python -m training.train --output DIR`, which writes a draft
of a package, with `--snapshot DIR --champion DIR` where production has labelled rows; then it writes
`DIR-report/evaluation.json` too, which the gate compares both models by. `tests/template/training/` has the
template's example. `requirements.in` has its packages; `./scripts/lock` pins them.
"""
NEXT = """
Next, as docs/clone.md explains:
  1. service.toml: organization, label_domain, registry and contact
  2. git remote set-url origin <your repository>; the remote `template` is for ./scripts/update
  3. a model: ./scripts/serve --model FILE to try one; then draft, check and publish it into model_store/
  4. ./scripts/remove --list: what you may not need
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    parser = argparse.ArgumentParser(prog="own", description=__doc__.partition("\n")[0])
    parser.add_argument("name", metavar="NAME", nargs="?", help=f"name of the service: {RULES['name'][0]}")
    parser.add_argument("--keep-sample", action="store_true", help="leave the sample model and its training")
    parser.add_argument("--next", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.next:
        print(NEXT.strip())
        return 0
    if args.name is None:
        parser.error("expected the service's NAME")
    try:
        own(args.name, keep_sample=args.keep_sample)
    except (TemplateError, LoaderError) as exc:
        print(f"own: {exc}", file=sys.stderr)
        return 1
    return 0


def own(name: str, *, keep_sample: bool = False, root: Path = ROOT) -> None:
    """Name a clone, and move the template's own files to where its tests find them.

    Args:
        name: of the service.
        keep_sample: whether the sample model, its gate and its training stay.
        root: the clone.

    Raises:
        TemplateError: the name is invalid, or the clone is not clean or is owned already.
        ServiceFileError: its service.toml is invalid.
    """
    old = read_service_file(root / SERVICE_FILE).name
    if not NAME.fullmatch(name):
        raise TemplateError(f"NAME: expected {RULES['name'][0]}, got {name!r}")
    if is_owned(root):
        if old == name:
            print(f"own: this clone is {name} already: checking it")
            return
        raise TemplateError(
            f"this clone is {old} already: to rename it, change service.toml, {VARIABLES_FILE} and the lines "
            f"`connection:` of {' and '.join(NAMED_PIPELINES)}"
        )
    if name == old:
        raise TemplateError(f"NAME: {name!r} is the template's own: expected another one")
    if changed := git("status", "--porcelain", cwd=root).splitlines():
        raise TemplateError(
            f"expected a clean clone, got {len(changed)} changed files, {changed[0][3:]!r} first: commit, "
            "stash or remove them; after an interrupted run, `git reset --hard` does"
        )
    with tempfile.TemporaryDirectory(prefix="own-") as directory:
        tree = Path(directory) / "clone"
        git("worktree", "prune", cwd=root)
        git("worktree", "add", "--quiet", "--detach", str(tree), "HEAD", cwd=root)
        try:
            write_files(tree, old, name, keep_sample=keep_sample)
            git("add", "--all", cwd=tree)
            sample = "the sample model stays" if keep_sample else "without the sample model"
            git("commit", "--quiet", "--message", f"Name the service {name}, {sample}", cwd=tree)
            commit = git("rev-parse", "HEAD", cwd=tree).strip()
        finally:
            git("worktree", "remove", "--force", str(tree), cwd=root)
    git("merge", "--quiet", "--ff-only", commit, cwd=root)
    add_remote(root)
    print(f"own: this clone is {name}, in commit {commit[:10]}")


def write_files(tree: Path, old: str, name: str, *, keep_sample: bool) -> None:
    """Make the changes in a work tree."""
    copy_to_ring(tree)
    for path in (SERVICE_FILE, VARIABLES_FILE):
        if (tree / path).exists():
            rewrite(tree / path, old, name)
    rename_connections(tree, old, name)
    (tree / "README.md").write_text(README.format(name=name))
    if not keep_sample:
        take_sample_out(tree)


def take_sample_out(tree: Path) -> None:
    """Remove the sample model and what belongs to it, except training's requirements, which others read."""
    for path in SAMPLE:
        remove(tree / path)
    requirements = sorted((tree / RING / "training").glob("requirements.*"))
    if requirements:
        (tree / "training").mkdir()
        (tree / "training/README.md").write_text(TRAINING)
    for file in requirements:
        shutil.copy2(file, tree / "training" / file.name)


def copy_to_ring(tree: Path) -> None:
    """Copy the template's own team files to where its tests find them."""
    remove(tree / RING)
    copy_files(tree, tree / RING, filter(is_team_file, listed_files(tree)))


def rewrite(path: Path, old: str, name: str) -> None:
    """Replace the name in a file's values, and leave its comments.

    The names of registries and storage accounts at Azure have no hyphens.
    """
    account = re.compile(rf"\b{re.escape(old)}(?=\.(?:azurecr|blob\.core)\.)")
    other = re.compile(rf"(?<![\w-]){re.escape(old)}(?![\w])")
    lines = []
    for line in path.read_text().splitlines(keepends=True):
        value, hash_sign, comment = line.partition(" #")
        if not line.startswith("#"):
            width = len(value) if hash_sign else 0
            value = other.sub(name, account.sub(name.replace("-", ""), value))
            # Keep comments in their column.
            value = value.rstrip(" ").ljust(width)
        lines.append(value + hash_sign + comment)
    path.write_text("".join(lines))


def rename_connections(tree: Path, old: str, name: str) -> None:
    """Name the connections of incoming webhooks, which are literals in the pipelines."""
    for pipeline in NAMED_PIPELINES:
        if (tree / pipeline).exists():
            path = tree / pipeline
            path.write_text(named_connections(path.read_text(), old, name))


def named_connections(pipeline: str, old: str, name: str) -> str:
    """Return a pipeline with the connections of its webhooks renamed."""
    return re.sub(rf"^(\s+connection: ){re.escape(old)}(?=-)", rf"\g<1>{name}", pipeline, flags=re.MULTILINE)


def add_remote(root: Path) -> None:
    """Remember where the template came from, for scripts/update."""
    remotes = git("remote", cwd=root).split()
    if "origin" in remotes and "template" not in remotes:
        git("remote", "add", "template", git("remote", "get-url", "origin", cwd=root).strip(), cwd=root)


def remove(path: Path) -> None:
    """Remove a file or a directory, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
