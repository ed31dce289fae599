"""Output variables of a pipeline's step."""

from pathlib import Path

import pytest

from release.pipeline_outputs import main


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that GitHub Actions reads outputs from. Nothing tells Azure Pipelines."""
    monkeypatch.delenv("TF_BUILD", raising=False)
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    return tmp_path / "output"


def test_github(github: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On GitHub Actions, variables are appended to the file, also values with `=`."""
    assert main(["run", "true"]) == main(["model", "--version 3=x"]) == 0
    assert github.read_text() == "run=true\nmodel=--version 3=x\n"
    assert "##vso" not in capsys.readouterr().out


def test_azure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On Azure Pipelines, variables are lines of the log."""
    monkeypatch.setenv("TF_BUILD", "True")
    monkeypatch.delenv("GITHUB_OUTPUT", raising=False)
    assert main(["run", "true"]) == 0
    assert capsys.readouterr().out == "##vso[task.setvariable variable=run;isOutput=true]true\nrun=true\n"


@pytest.mark.parametrize(
    ("name", "value"), [("Run", "x"), ("", "x"), ("run", "true\nmodel=--version 9"), ("run", "true\n")]
)
def test_invalid(github: Path, name: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none, and a value of several lines, which could set another variable, are refused."""
    assert main([name, value]) == 1
    assert not github.exists()
    assert capsys.readouterr().err.startswith("pipeline_outputs: ")


def test_unwritable(github: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be written is an error."""
    github.mkdir()
    assert main(["run", "true"]) == 1
    assert "cannot be written" in capsys.readouterr().err
