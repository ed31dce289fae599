"""`scripts/remove` in a fresh clone: lint, documents, manifests, pipelines and test collection stay green.

CI removes all parts together, and resolves every name in what is left without one of them. `--all` also
removes each part alone.
"""

import ast
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from scripts.part_catalog import read_parts, with_dependents
from scripts.part_markers import names_in, without_parts
from scripts.part_tree import contents, matching, read_removed, tracked
from tests.e2e.conftest import ROOT, copy_work_tree

PARTS = read_parts(ROOT)
TIMEOUT_S = 1200
IMAGE = f"registry.example.com/demo@sha256:{'0' * 64}"
PYTHON_PATHS = (
    "app", "model_loader", "monitor", "release", "training", "examples", "benchmarks", "tests", "scripts",
    "gunicorn.conf.py",
)  # fmt: skip

pytestmark = pytest.mark.timeout(TIMEOUT_S)


def clone(path: Path) -> Path:
    """Create a clone whose packages are those installed here, and whose record of them is its own."""
    copy_work_tree(path)
    (path / ".venv").unlink()
    (path / ".venv").mkdir()
    for item in ("bin", "lib", "pyvenv.cfg"):
        (path / ".venv" / item).symlink_to((ROOT / ".venv" / item).resolve())
    if (ROOT / ".mypy_cache").exists():
        shutil.copytree(ROOT / ".mypy_cache", path / ".mypy_cache")
    return path


def run(path: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a clone; return its result, whatever the exit code."""
    return subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=TIMEOUT_S)


def remove(path: Path, *names: str) -> "subprocess.CompletedProcess[str]":
    """Remove parts, and note the requirements that are left as installed."""
    done = run(path, sys.executable, "-m", "scripts.remove", *names)
    installed = path / ".venv/installed"
    shutil.rmtree(installed, ignore_errors=True)
    installed.mkdir()
    for lock in path.rglob("requirements*.txt"):
        if not lock.is_relative_to(path / ".venv"):
            shutil.copy2(lock, installed / str(lock.relative_to(path)).replace("/", "-"))
    return done


def check(path: Path) -> None:
    """Check everything that does not run the service."""
    python = sys.executable
    existing = [name for name in PYTHON_PATHS if (path / name).exists()]
    names = ("docs", "documented_commands", "layers", "pipelines")
    modules = [name for name in names if (path / f"tests/test_{name}.py").exists()]
    commands = [
        (python, "-m", "ruff", "format", "--check", "--quiet", "."),
        (python, "-m", "ruff", "check", "--quiet", "."),
        (python, "-m", "mypy", *existing),
        (python, "-m", "yamllint", "--strict", "."),
        (python, "-m", "scripts.docs", "--check"),
        (python, "-m", "pytest", "--quiet", "--collect-only"),
        (python, "-m", "pytest", "--quiet", *(f"tests/test_{name}.py" for name in modules)),
    ]
    if shutil.which("kubectl"):
        commands.append(("scripts/render", "staging", IMAGE))
    for command in commands:
        done = run(path, *command)
        assert done.returncode == 0, (command, done.stdout[-4000:], done.stderr[-2000:])


def test_all_together(tmp_path: Path) -> None:
    """Without every part, everything is green, and a second removal finds nothing to do."""
    path = clone(tmp_path / "demo")
    done = remove(path, *PARTS)
    assert done.returncode == 0, done.stderr
    assert read_removed(path) == list(PARTS)
    texts = contents(path, tracked(path))
    assert not {name for text in texts.values() for name in names_in(text)} & PARTS.keys()
    check(path)
    run(
        path,
        "git",
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.com",
        "commit",
        "--all",
        "--quiet",
        "-m",
        "x",
    )
    done = remove(path, "benchmarks")
    assert (done.returncode, done.stdout) == (0, "benchmarks: removed before\n")
    done = remove(path, "--again")
    assert done.returncode == 0, done.stderr
    assert run(path, "git", "status", "--porcelain").stdout == ""


@pytest.mark.parametrize("alone", PARTS)
def test_alone(tmp_path: Path, alone: str) -> None:
    """Without one part, and what needs it, everything is green."""
    path = clone(tmp_path / "demo")
    done = remove(path, alone)
    assert done.returncode == 0, done.stderr
    check(path)


@pytest.mark.parametrize("name", PARTS)
def test_names(tmp_path: Path, name: str) -> None:
    """Without one part, every import and every name in what is left can be resolved."""
    gone = with_dependents(PARTS, [name], [])
    files = tracked(ROOT)
    doomed = set(matching(files, [path for part in gone for path in PARTS[part].paths]))
    texts = contents(ROOT, (file for file in files if file not in doomed and file.endswith(".py")))
    left = {file: without_parts(text, gone) for file, text in texts.items()}
    known = {f"{file.removesuffix('.py')}".removesuffix("/__init__") for file in left}
    known |= {str(parent) for file in left for parent in Path(file).parents}
    for file, text in left.items():
        known |= {
            f"{file.removesuffix('.py').removesuffix('/__init__')}:{found}" for found in outline(text)[1]
        }
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    for file, text in left.items():
        for module, imported in outline(text)[0]:
            base = module.replace(".", "/")
            is_ours = (ROOT / module.partition(".")[0]).is_dir()
            assert not is_ours or {f"{base}/{imported}", f"{base}:{imported}"} & known, (
                file,
                module,
                imported,
            )
    done = run(tmp_path, sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E9,F821", ".")
    assert done.returncode == 0, done.stdout


@cache
def outline(text: str) -> tuple[set[tuple[str, str]], set[str]]:
    """Return what a module imports, as module and name, and the names that it defines."""
    imported, defined = set(), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            imported |= {(node.module, alias.name) for alias in node.names}
    return imported, defined


def test_paths_exist() -> None:
    """Every path of parts.toml is in the clone, and every marker names parts."""
    files = tracked(ROOT)
    for part in PARTS.values():
        for path in part.paths:
            assert matching(files, [path]), (part.name, path)
    for file, text in contents(ROOT, files).items():
        if not file.startswith(
            ("tests/scripts/", "scripts/part_", "tests/e2e/test_remove.py", "docs/clone.md")
        ):
            assert names_in(text) <= PARTS.keys(), file
            without_parts(text, [])
