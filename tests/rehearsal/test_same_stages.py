"""Azure Pipelines and GitHub Actions run the same stages."""

import re
from pathlib import Path

import pytest

from tests.rehearsal import pipeline as rehearsed
from tests.rehearsal.github import read_workflow
from tests.rehearsal.pipeline import read_pipeline

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("azure_file", "github_file"), [("", "release"), ("-train", "train")])
def test_same_stages(azure_file: str, github_file: str) -> None:
    """Both systems run the same stages, and in them the same scripts in the same order."""
    pipeline = read_pipeline(ROOT / f"azure-pipelines{azure_file}.yml")
    workflow = read_workflow(ROOT / f".github/workflows/{github_file}.yml")
    # On GitHub, training starts the release; on Azure, the event of the store does.
    stages = [stage for stage in workflow.stages if (github_file, stage.name) != ("train", "Release")]
    assert [stage.name for stage in pipeline.stages] == [stage.name for stage in stages]
    for azure, github in zip(pipeline.stages, stages, strict=True):
        assert len(azure.jobs) == len(github.jobs)
        for left, right in zip(azure.jobs, github.jobs, strict=True):
            assert [step.title for step in left.steps if scripts_of(step)] == [
                step.title for step in right.steps if scripts_of(step)
            ]
            assert [each for step in left.steps for each in scripts_of(step)] == [
                each for step in right.steps for each in scripts_of(step)
            ]


def scripts_of(step: rehearsed.Step) -> list[str]:
    """Return the scripts that a step calls, apart from what only one of the systems needs."""
    text = step.inputs.get("inlineScript", "") or (step.value if step.kind == "script" else "")
    only_one = {"output", "registry_login", "in_repository"}
    return [name for name in re.findall(r"scripts/(\w+)", text) if name not in only_one]
