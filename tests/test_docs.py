"""The documents agree with the code."""

import re
import tomllib
from pathlib import Path

import pytest
from flask import Flask

from model_loader.package import read_package
from scripts import docs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def rows(document: str) -> list[list[str]]:
    """Return the cells of all table rows of a document."""
    lines = (ROOT / "docs" / document).read_text().splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")
    ]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only page that `scripts/docs` knows, with an outdated table."""
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- generated: settings -->\n| old |\n<!-- end -->\nafter\n")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "PAGES", (path,))
    return path


@pytest.mark.parametrize("path", docs.PAGES, ids=lambda path: path.name)
def test_generated(path: Path) -> None:
    """The generated tables of a page are up to date; ./scripts/docs updates them."""
    assert path.read_text() == docs.generate(path.read_text())


def test_every_table_is_used() -> None:
    """Every table that can be generated is in a page, once."""
    used = [name for path in docs.PAGES for _, name, _ in docs.GENERATED.findall(path.read_text())]
    assert sorted(used) == sorted(docs.TABLES)


def test_outdated_page(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` reports an outdated page and changes nothing; without it, only the table is rewritten."""
    outdated = page.read_text()
    assert docs.main(["--check"]) == 1
    assert capsys.readouterr().err == "docs: page.md is out of date: run ./scripts/docs\n"
    assert page.read_text() == outdated
    assert docs.main([]) == 0
    assert page.read_text() == outdated.replace("| old |", docs.settings_table())
    assert docs.main(["--check"]) == 0


def test_routes(app: Flask) -> None:
    """The table of routes has every route, and no other."""
    scoring = app.extensions["service"].routes
    routes = {
        f"`{method} {scoring[rule.rule].rule if rule.rule in scoring else rule.rule}`"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {row[0] for row in rows("api.md") if re.match(r"`(GET|POST) ", row[0])} == routes


def test_metrics(app: Flask) -> None:
    """The table of metrics has every metric of the model, also one that nothing has been counted in."""
    names = {metric.name for metric in app.extensions["service"].metrics.registry.collect()}
    documented = {
        re.split(r"[`{]", row[0])[1].removesuffix("_total") for row in rows("api.md") if row[0][0] == "`"
    }
    assert {name for name in names if name.startswith("model_")} <= documented


def test_canary_thresholds() -> None:
    """Every check of the canary has its row, with its default thresholds."""
    document = tomllib.loads((ROOT / "monitoring/canary.toml").read_text())
    documented = {row[0]: row[2] for row in rows("operations.md") if len(row) == 3}
    for check, rules in document.items():
        defaults = ", ".join(f"`{rule}` {number}" for rule, number in rules.items())
        assert documented[f"`{check}`"] == defaults


def test_faults() -> None:
    """Every test that the table of faults names exists."""
    named = [test for row in rows("operations.md") for test in re.findall(r"`(\S+\.py)::(\w+)`", row[-1])]
    assert len(named) > 10
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests/app" / file).read_text()


def test_dependencies() -> None:
    """Every direct dependency has its reason, and there are no others."""
    files = (
        ROOT / folder / f"requirements{suffix}.in"
        for folder, suffix in (("", ""), ("", "-tracing"), ("model_loader", ""), ("", "-build"))
    )
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
    direct = [line.partition("#")[0].strip() for line in lines if line[0] not in "#-"]
    assert [row[0] for row in rows("dependencies.md") if row[0] != "package"] == direct


@pytest.mark.parametrize("path", [*ROOT.glob("*.in"), *ROOT.glob("[!.]*/*.in")], ids=lambda path: path.name)
def test_pinned_with_hashes(path: Path) -> None:
    """Every requirement is pinned to a version, with hashes."""
    entries = re.split(r"\n(?=\S)", path.with_suffix(".txt").read_text().strip())
    header, entries = entries[:2], entries[2:]
    assert all(line.startswith("#") for line in header)
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9, -]+\])?==[^ ]+ ", entry), entry
        assert "--hash=sha256:" in entry


@pytest.mark.parametrize("path", docs.PAGES, ids=lambda path: path.name)
def test_links(path: Path) -> None:
    """Every linked file exists, and so does the heading that a link to a page names."""
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", path.read_text()):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_tree() -> None:
    """Every folder in the tree of docs/architecture.md exists, and every folder of `app` is in it."""
    tree = (ROOT / "docs/architecture.md").read_text().split("```")[1]
    names = set(re.findall(r"^ *([a-z_./]+/)(?: |$)", tree, re.MULTILINE))
    folders = {f"{path.parent.name}/" for path in (ROOT / "app").glob("*/*.py")}
    assert folders <= names
    for name in names:
        assert any((ROOT / parent / name).exists() for parent in ("", "app", "model_loader", "monitor")), name


def test_scripts() -> None:
    """Every script begins with what it does."""
    for script in (path for path in (ROOT / "scripts").iterdir() if not path.suffix and path.is_file()):
        shebang, job, *_ = script.read_text().splitlines()
        assert shebang == "#!/usr/bin/env bash"
        assert re.match(r"# [A-Z]", job)


def test_readme_example() -> None:
    """The columns of the example are those of the sample model."""
    features = read_package(ROOT / "model_store/wine/2").manifest.features
    columns = re.findall(r'"([a-z0-9_/]+)": [0-9.]', README)
    assert features == tuple(columns)


def test_architecture_names_what_exists() -> None:
    """Every file and folder that the architecture page names exists; so does every name of code."""
    text = (ROOT / "docs/architecture.md").read_text()
    roots = "app|model_loader|release|training|benchmarks|examples|deploy|monitoring|scripts|tests|docs"
    for path in set(re.findall(rf"\b(?:{roots})/[\w./]*\w|\b(?:{roots})/", text)):
        assert (ROOT / path).exists(), path
    parts = "serving|routes|scoring|protocols|tensors|model|observability"
    for path in set(re.findall(rf"(?<![\w/])(?:{parts})/\w+\.py", text)):
        assert (ROOT / "app" / path).exists(), path
