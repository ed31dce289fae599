"""Tests of reading Azure pipelines: the repository's own are read without an unsupported key."""

from pathlib import Path

import pytest

from tests.pipeline_templates import TemplateError, read_expanded
from tests.rehearsal.pipeline import read_pipeline

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["azure-pipelines", "azure-pipelines-pull-request", "azure-pipelines-train"])
def test_readable(name: str) -> None:
    """The rehearsal can read every pipeline."""
    assert read_pipeline(ROOT / f"{name}.yml").stages


def test_release() -> None:
    """The stages, and the steps of the production stage in order."""
    pipeline = read_pipeline(ROOT / "azure-pipelines.yml")
    assert [stage.name for stage in pipeline.stages] == ["Plan", "Test", "Build", "Staging", "Production"]
    release, clean_up = pipeline.stages[-1].jobs
    titles = [step.title for step in release.steps]
    assert titles[titles.index("Start the rollout") :] == [
        "Start the rollout",
        "Canary at 10 %",
        "Watch the canary at 10 %",
        "Canary at 50 %",
        "Watch the canary at 50 %",
        "Promote the canary",
        "Reject the canary",
        "Record the release",
        "Compare ledger, lock, image and pods",
        "Send a notification",
    ]
    assert clean_up.depends_on == (release.name,)
    assert clean_up.steps[-1].title == "Reject the canary"


def test_expanded(tmp_path: Path) -> None:
    """Variables come from lists, mappings and templates; `${{ variables.x }}` is replaced everywhere."""
    (tmp_path / "v.yml").write_text("variables:\n  a: x\n  b: y\n")
    variables = "variables:\n  - template: v.yml\n  - {name: b, value: z}\n"
    (tmp_path / "p.yml").write_text(variables + "k: [{l: '${{ variables.a }}-${{variables.b}}'}]\n")
    assert read_expanded(tmp_path / "p.yml") == {"variables": {"a": "x", "b": "z"}, "k": [{"l": "x-z"}]}


@pytest.mark.parametrize("text", ["${{ variables.c }}", "${{ parameters.a }}", "${{ upper(variables.a) }}"])
def test_unknown_expression(tmp_path: Path, text: str) -> None:
    """An expression that is not a known variable is refused."""
    (tmp_path / "p.yml").write_text(f"variables: {{a: x}}\nk: '{text}'\n")
    with pytest.raises(TemplateError, match=r"p.yml: .* is not supported: expected a variable of the file"):
        read_expanded(tmp_path / "p.yml")


def test_unknown_group(tmp_path: Path) -> None:
    """A variable group, which is outside of the repository, is refused."""
    (tmp_path / "p.yml").write_text("variables:\n  - group: secrets\n")
    with pytest.raises(TemplateError, match=r"'group'.* is not supported"):
        read_expanded(tmp_path / "p.yml")
