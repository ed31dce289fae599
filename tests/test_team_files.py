"""Which files are a team's, and the tree in which the template's tests run."""

import subprocess
from pathlib import Path

import pytest

from model_loader.package.service_file import read_service_file
from scripts.own import named_connections, rewrite
from scripts.team_files import ROOT, TEAM_FILES, TemplateError, git, is_team_file, listed_files
from scripts.template_tree import in_clone, make_tree


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("README.md", True),
        ("training/README.md", True),
        ("training", False),
        ("docs/README.md", False),
        ("app/transform.py", True),
        ("app/transform.pyc", False),
        ("tests/own/test_own.py", True),
        ("tests/template/service.toml", False),
        ("model_store/risk/1/model.onnx", True),
    ],
)
def test_is_team_file(path: str, expected: bool) -> None:
    """A file is a team's by its full path, a directory's files by its prefix."""
    assert is_team_file(path) == expected


def test_listed_in_docs() -> None:
    """docs/clone.md lists every path that is a team's."""
    page = (ROOT / "docs/clone.md").read_text()
    assert not [path for path in TEAM_FILES if f"`{path}`" not in page]


def test_rewrite(tmp_path: Path) -> None:
    """Names follow the service's name, without hyphens where Azure allows none; comments stay in place."""
    path = tmp_path / "service.toml"
    path.write_text(TEMPLATE)
    rewrite(path, "demo", "fraud-eu")
    names = read_service_file(path)
    assert (names.name, names.registry) == ("fraud-eu", "fraudeu.azurecr.io")
    assert (names.namespaces.staging, names.namespaces.production) == (
        "fraud-eu-staging",
        "fraud-eu-production",
    )
    assert "# the demo's own" in path.read_text()
    columns = {line.index("#") for line in path.read_text().splitlines()[1:3]}
    assert columns == {34}


TEMPLATE = """\
# demo's names
name = "demo"                     # the demo's own
registry = "demo.azurecr.io"      # images
organization = "Example"
label_domain = "example.com"
port = 8080
contact = "https://example.com/on-call"
removed = []

[namespaces]
staging = "demo-staging"
production = "demo-production"
"""


def test_connections() -> None:
    """Only the connections of the service are renamed."""
    pipeline = "  - webhook: x\n      connection: demo-x\n      connection: demolition\n# demo-x\n"
    expected = pipeline.replace("connection: demo-x", "connection: fraud-x")
    assert named_connections(pipeline, "demo", "fraud") == expected


def test_tree(tmp_path: Path) -> None:
    """In the tree the template's files replace the team's, also those that the template does not have."""
    root, tree = tmp_path / "clone", tmp_path / "tree"
    for name, text in (
        ("service.toml", "theirs"),
        ("gate.toml", "theirs"),
        ("app/errors.py", "both"),
        ("app/new.py", "not committed"),
        ("tests/template/service.toml", "template"),
        (".gitignore", "/build/\n/.venv\n"),
        ("build/report.xml", "ignored"),
        (".venv/bin/python", "python"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    make_tree(tree, root)
    assert sorted(listed_files(tree)) == [".gitignore", "app/errors.py", "app/new.py", "service.toml"]
    assert (tree / "service.toml").read_text() == "template"
    assert (tree / ".venv/bin/python").read_text() == "python"
    assert git("status", "--porcelain", cwd=tree) == ""


def test_git_fails(tmp_path: Path) -> None:
    """The message of a failure is git's."""
    with pytest.raises(TemplateError, match="git rev-parse HEAD: fatal: not a git repository"):
        git("rev-parse", "HEAD", cwd=tmp_path)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--junitxml=build/tests.xml", "--junitxml=/clone/build/tests.xml"),
        ("--junit-xml=/out/tests.xml", "--junit-xml=/out/tests.xml"),
        ("--cov-report=xml:build/c.xml", "--cov-report=xml:/clone/build/c.xml"),
        ("--cov-report=term", "--cov-report=term"),
        ("/clone/tests/app", "tests/app"),
        ("tests/app::test_x[/clone/]", "tests/app::test_x[/clone/]"),
        ("-k", "-k"),
    ],
)
def test_arguments(argument: str, expected: str) -> None:
    """Reports are written into the clone, tests are taken from the tree."""
    assert in_clone(argument, Path("/clone")) == expected
