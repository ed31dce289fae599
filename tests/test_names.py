"""The names of the service: `scripts/names`, `--version`, and where the product's own name may stand."""

import ast
import io
import os
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from model_loader.package.service_file import TEMPLATE_VERSION, service
from scripts import names

ROOT = Path(__file__).parents[1]
PRODUCT = "score" + "box"
# Prose, and titles of the product's benchmarks.
PROSE = (".md", "LICENSE")
TITLES = ("benchmarks/", "tests/benchmarks/")
NOT_OURS = {"build", "captured", "model", "model.optimized", "node_modules", "__pycache__"}
VALUES = names.token_values(service())


def files() -> list[str]:
    """Return the paths of all files but what is generated or installed."""
    found = []
    for directory, below, here in os.walk(ROOT):
        below[:] = [name for name in below if name not in NOT_OURS and (name[0] != "." or name == ".github")]
        found += [(Path(directory) / name).relative_to(ROOT).as_posix() for name in here if name[0] != "."]
    return found


def without_prose(path: str, text: str) -> str:
    """Return a text without comments, and without the docstrings of Python."""
    if not path.endswith(".py"):
        return re.sub(r"(?m)(^|\s)#.*$", "", text)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    code = [token.string for token in tokens if token.type != tokenize.COMMENT]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    docs = {ast.get_docstring(node, clean=False) for node in nodes}
    return "\n".join(each for each in code if each.strip('"') not in docs)


def test_product_name_is_prose() -> None:
    """The product's name is in prose and in benchmarks: a clone has nothing to change."""
    found = []
    for path in files():
        text = (ROOT / path).read_text(errors="ignore")
        if PRODUCT not in text.lower() or path.endswith(PROSE) or path.startswith(TITLES):
            continue
        if PRODUCT in without_prose(path, text).lower():
            found.append(path)
    assert found == []
    assert not [path for path in files() if PRODUCT in path.lower()]


def test_without_prose() -> None:
    """Comments and docstrings are left out, and code is not."""
    text = f'"""A {PRODUCT}."""\nx = 1  # {PRODUCT}\n'
    assert PRODUCT not in without_prose("a.py", text)
    assert PRODUCT in without_prose("a.py", f'{text}y = "{PRODUCT}"\n')
    assert PRODUCT not in without_prose("a.yaml", f"# {PRODUCT}\na: b # {PRODUCT}\n")
    assert PRODUCT in without_prose("a.yaml", f"a: {PRODUCT}\n")


def test_substitute() -> None:
    """Tokens become values; what only looks like one stays as it is."""
    text = "$SERVICE-data ${X} $(Y) $labels $SERVICE_ID_retraining $$SERVICE $5"
    expected = "a-b-data ${X} $(Y) $labels a_b_retraining $SERVICE $5"
    assert names.substitute(text, {"SERVICE": "a-b", "SERVICE_ID": "a_b"}, "file") == expected


def test_unknown_token() -> None:
    """An unknown token is refused, with its file, its line and the tokens."""
    with pytest.raises(
        ValueError, match=r"^file:2: unknown token \$SERVICES; the tokens are \$SERVICE, \$PORT$"
    ):
        names.substitute("\n$SERVICES", {"SERVICE": "a", "PORT": "1"}, "file")


@pytest.mark.parametrize("key", ["name", "port", "contact", "namespaces.staging", "template_version"])
def test_get(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--get` prints one value."""
    assert names.main(["--get", key]) == 0
    assert capsys.readouterr().out == f"{names.key_values(service())[key]}\n"


def test_into(tmp_path: Path) -> None:
    """`--into` writes the files below a directory, and leaves no token."""
    assert (
        names.main(["--into", str(tmp_path), str(ROOT / "deploy/base"), str(ROOT / "deploy/overlays")]) == 0
    )
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / "overlays/staging/kustomization.yaml" in written
    assert not [path for path in written if names.TOKEN.search(path.read_text())]


@pytest.mark.parametrize(
    "args", [[], ["--get", "name", "file"], ["--get", "nothing"], ["--into", "directory"]]
)
def test_usage(args: list[str]) -> None:
    """Wrong usage exits with 2."""
    with pytest.raises(SystemExit, match="2"):
        names.main(args)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"$NOTHING", "unknown token $NOTHING"), (b"\xff", "is not text in UTF-8"), (None, "No such file")],
)
def test_failure(
    tmp_path: Path, content: bytes | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be printed exits with 1 and the reason, and prints nothing."""
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    assert names.main([str(tmp_path / "file")]) == 1
    printed = capsys.readouterr()
    assert (printed.out, message in printed.err) == ("", True)


@pytest.mark.parametrize(
    "module",
    [
        "model_loader",
        "monitor",  # part: monitor
        "release",
        "app.commands.check",
    ],
)
def test_version(module: str) -> None:
    """Every command line prints the service's name and the template's version."""
    done = subprocess.check_output([sys.executable, "-m", module, "--version"], cwd=ROOT, text=True)
    assert done == f"{service().name}, template {TEMPLATE_VERSION}\n"


def test_version_of_invalid_file(tmp_path: Path) -> None:
    """With an invalid service file, `--version` names the key and exits with 1."""
    shutil.copytree(ROOT / "model_loader", tmp_path / "model_loader")
    text = (ROOT / "service.toml").read_text()
    (tmp_path / "service.toml").write_text(re.sub("(?m)^name = .*$", 'name = "X"', text))
    command = [sys.executable, "-m", "model_loader", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(
        r"python -m model_loader: .*/service.toml: name: expected 3 to 20 .*, got 'X'\n$", done.stderr
    )


def test_version_is_in_one_place() -> None:
    """No other file has the template's version, apart from the history and requirements."""
    text = f'"{TEMPLATE_VERSION}"'
    found = [
        path for path in files() if path.endswith((".py", ".toml")) and text in (ROOT / path).read_text()
    ]
    assert [path for path in found if "tests/" not in path] == ["model_loader/package/service_file.py"]
