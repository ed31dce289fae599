"""The model card, in Markdown and HTML."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_loader.__main__ import main
from model_loader.card import read_card, to_html, to_markdown
from model_loader.errors import PackageError
from model_loader.package.manifest import parse_manifest
from tests import models
from tests.conftest import write_package

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>alert(1)</script> | [x](javascript:alert(1)) **bold**\n# no heading"
FIELDS: Any = {
    "description": HOSTILE,
    "intended_use": "Sorting bottles.",
    "limitations": "Not for vinegar.",
    "licence": "mit",
    "tags": ["wine"],
    "metrics": {"accuracy": 0.97},
    "intervals": {"accuracy": [0.93, 0.99]},
    "slices": [{"name": "colour=red", "rows": 60, "metrics": {"accuracy": 0.95}}],
    "links": {"run": "https://example.com/run/7", "Training commit": "https://example.com/commit/4be7"},
    "training": {"commit": "4be7"},
    "features": ["a", "b"],
    "data": {"name": "bottles", "version": 3, "rows": 1200},
}
SCHEMA: Any = {"features": {"a": {"type": "number", "unit": "g", "min": 0}, "b": {"type": "integer"}}}


def head_of(markdown: str) -> Any:
    """Return the metadata at the head of a card."""
    found = re.match(r"---\n(.*?)\n---\n", markdown, re.DOTALL)
    assert found
    return yaml.safe_load(found[1])


def test_markdown() -> None:
    """Markdown has the head that model hubs read, all sections, and no markup from a package's texts."""
    markdown = to_markdown(read_card({"name": "wine", "version": 2} | FIELDS, SCHEMA, "sha256:0"))
    head = head_of(markdown)
    assert (head["license"], head["tags"], head["library_name"]) == ("mit", ["wine"], "onnx")
    assert head["model-index"][0]["results"][0]["metrics"] == [
        {"type": "accuracy", "value": 0.97, "name": "accuracy"}
    ]
    assert re.findall("^#+ (.+)$", markdown, re.MULTILINE) == [
        "wine/2", "Description", "Intended use", "Limits", "Licence", "Metrics", "Metrics by slice",
        "Features", "Training and lineage", "Links",
    ]  # fmt: skip
    for line in (
        "| accuracy | 0.97 | 0.93 to 0.99 |",
        "| colour=red | 60 | 0.95 |",
        "| a | number | g | from 0 | - |",
    ):
        assert line in markdown
    assert "<script" not in markdown
    assert "- **Training commit**: [4be7](<https://example.com/commit/4be7>)\n" in markdown
    assert markdown.endswith("\n## Links\n\n- [run](<https://example.com/run/7>)\n")


def test_html() -> None:
    """HTML has the same, escaped, and loads nothing."""
    html = to_html(read_card({"name": "wine", "version": 2} | FIELDS, SCHEMA, "sha256:0"))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert re.findall(r'(?:src|href)="([^"]*)"[^>]*>([^<]*)', html) == [
        ("https://example.com/commit/4be7", "4be7"),
        ("https://example.com/run/7", "run"),
    ]
    assert "default-src &#x27;none&#x27;" in html


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`card` reads a version in the store, a package and a draft, and writes a file."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MODEL_STORE", "file:model_store")
    assert main(["card", "2", "--name", "wine"]) == 0
    of_version = capsys.readouterr().out
    assert main(["card", "--directory", "model_store/wine/2"]) == 0
    assert capsys.readouterr().out == of_version
    assert head_of(of_version)["model-index"][0]["name"] == "wine/2"
    draft = tmp_path / "draft"
    draft.mkdir()
    (draft / "model.onnx").write_bytes(models.affine())
    (draft / "manifest.json").write_text(json.dumps({"name": "mine", "limitations": "none known"}))
    out = tmp_path / "card.html"
    assert main(["card", "--directory", str(draft), "--format", "html", "--out", str(out)]) == 0
    assert "none known" in out.read_text()
    assert main(["card", "--directory", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err


def test_changed_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A schema that is not the one in the manifest is refused."""
    package = write_package(tmp_path / "store/tiny/3", models.affine(), schema=SCHEMA, features=["a", "b"])
    arguments = ["card", "3", "--store", f"file:{tmp_path / 'store'}", "--name", "tiny"]
    assert main(arguments) == 0
    (package / "schema.json").write_text("{}")
    assert main(arguments) == 1
    assert "schema.json: expected sha256:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("intended_use", 1),
        ("limitations", []),
        ("intervals", {"accuracy": [0.9]}),
        ("intervals", {"accuracy": [0.9, 0.8]}),
        ("intervals", {"accuracy": ["0.8", "0.9"]}),
        ("slices", [{"name": "x"}]),
        ("slices", [{"name": "x", "metrics": {"a": "high"}}]),
        ("slices", [{"name": "x", "metrics": {}, "rows": -1}]),
        ("slices", [{"name": "x", "metrics": {}, "colour": "red"}]),
        ("links", {"run": "javascript:alert(1)"}),
        ("links", ["https://example.com"]),
    ],
)
def test_invalid_field(tmp_path: Path, field: str, value: Any) -> None:
    """A field of the card that is invalid is refused by its name."""
    package = write_package(tmp_path / "package", models.affine(), **{field: value})
    with pytest.raises(PackageError, match=f"expected '{field}' to be "):
        parse_manifest((package / "manifest.json").read_bytes())
