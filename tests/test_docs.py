"""The documents say what the code does."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app import errors
from app.settings import Settings
from model_loader.package import read_package

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def rows(document: str) -> list[list[str]]:
    """The cells of all table rows of a document."""
    lines = (ROOT / "docs" / document).read_text().splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")
    ]


def shown(default: Any) -> str:
    """A default as the table spells it."""
    if default is None:
        return "unset"
    return f"`{','.join(default) if isinstance(default, tuple) else default}`"


@pytest.mark.parametrize("item", fields(Settings), ids=lambda item: item.name)
def test_setting(item: Any) -> None:
    """Every setting has its row: variable, default, help."""
    assert [f"`{item.name.upper()}`", shown(item.default), item.metadata["help"]] in rows("settings.md")


def test_no_other_setting() -> None:
    """The table of the service has no row that is not a setting."""
    text = (ROOT / "docs/settings.md").read_text().partition("## The loader")[0]
    assert set(re.findall(r"^\| `([A-Z_]+)`", text, re.MULTILINE)) == {
        item.name.upper() for item in fields(Settings)
    }


def test_routes(app: Flask) -> None:
    """The table of routes has every route, and no other."""
    routes = {
        f"`{method} {rule.rule}`"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {row[0] for row in rows("api.md") if re.match(r"`(GET|POST) ", row[0])} == routes


@pytest.mark.parametrize("error", errors.RequestError.__subclasses__(), ids=lambda error: error.__name__)
def test_errors(error: type[errors.RequestError]) -> None:
    """Every way to refuse a request stands in the table with its status and reason."""
    if error is errors.NotReady:
        assert "503 from the moment the process is told to stop" in (ROOT / "docs/api.md").read_text()
        return
    found = [row for row in rows("api.md") if row[0].split()[0] == str(error.status)]
    assert f"`{error.reason}`" in [row[1] for row in found]


def test_metrics(app: Flask) -> None:
    """Every metric of ours is in the table."""
    names = {metric.name for metric in app.extensions["scorebox"].metrics.registry.collect()}
    documented = (ROOT / "docs/api.md").read_text()
    for name in names:
        if name.startswith("model_"):
            assert re.search(rf"`{name}(_total)?[`{{]", documented), name


def test_canary_thresholds() -> None:
    """Every check of the canary has its row, with what it ships with."""
    document = tomllib.loads((ROOT / "monitoring/canary.toml").read_text())
    documented = {row[0]: row[2] for row in rows("operations.md") if len(row) == 3}
    for check, rules in document.items():
        said = ", ".join(f"`{rule}` {number}" for rule, number in rules.items())
        assert documented[f"`{check}`"] == said


def test_dependencies() -> None:
    """Every dependency that is asked for has its reason, and no other."""
    files = (
        ROOT / name for name in ("requirements.in", "model_loader/requirements.in", "requirements-build.in")
    )
    lines = [line for file in files for line in file.read_text().splitlines()]
    asked = [line for line in lines if line[0] not in "#-"]
    assert [row[0] for row in rows("dependencies.md") if row[0] != "package"] == asked


@pytest.mark.parametrize("path", [*ROOT.glob("*.in"), *ROOT.glob("[!.]*/*.in")], ids=lambda path: path.name)
def test_pinned_with_hashes(path: Path) -> None:
    """Every requirement is pinned to a version, with hashes."""
    entries = re.split(r"\n(?=\S)", path.with_suffix(".txt").read_text().strip())
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9, -]+\])?==[^ ]+ ", entry), entry
        assert "--hash=sha256:" in entry


def test_readme_names_what_there_is() -> None:
    """Every path that the README names is there, and every script says what it is for."""
    for path in re.findall(r"`?([a-z_]+/(?:[a-z_.]+)?)`", README) + re.findall(r"\]\(([^)#]+)", README):
        assert (ROOT / path).exists(), path
    for script in (path for path in (ROOT / "scripts").iterdir() if not path.suffix and path.is_file()):
        shebang, job, *_ = script.read_text().splitlines()
        assert shebang == "#!/usr/bin/env bash"
        assert re.match(r"# [A-Z]", job)


def test_readme_example() -> None:
    """The example's columns are those of the sample model in the store."""
    features = read_package(ROOT / "model_store/wine/2").manifest.features
    columns = re.findall(r'"([a-z0-9_/]+)": [0-9.]', README)
    assert features == tuple(columns)
