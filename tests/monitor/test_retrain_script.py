"""`scripts/retrain`: what has started a run says who asks; people and the pipeline get the answer."""

import os
import subprocess
from pathlib import Path

import pytest

from model_loader.registry.ledger import read_ledger
from model_loader.store import open_store
from scripts.validate_pipelines import read_document  # part: azure_pipelines, github, pipelines, training
from tests.model_loader.drafts import publish, write_draft

ROOT = Path(__file__).parents[2]


def test_commit(workspace: Path) -> None:
    """A commit is trained without conditions: the ledger, the line for people and the output say so."""
    store = open_store("file:models")
    publish(write_draft(workspace / "draft", name="wine"), store)
    output = workspace / "output"
    done = subprocess.run(
        [ROOT / "scripts/retrain"],
        env=os.environ
        | {
            "MODEL_STORE": f"file:{workspace}/models",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_OUTPUT": str(output),
        }
        | {"GITHUB_RUN_ID": "7", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "o/r"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    entry = read_ledger(store, "wine").entries[-1]
    assert entry.action == "retrain"
    assert done.stdout == (
        f"wine: asked by {entry.reason}: wine/1 is trained again "
        "(https://github.com/o/r/actions/runs/7)\ntrain=true\n"
    )
    assert output.read_text() == "train=true\n"


@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({"BUILD_REASON": "Schedule", "BUILD_CRONSCHEDULE_DISPLAYNAME": "Train weekly"}, [], "cadence"),
        ({"GITHUB_EVENT_NAME": "schedule", "SCHEDULE": "0 3 * * 1"}, [], "cadence"),
        ({"BUILD_REASON": "ResourceTrigger"}, [], "alert"),
        ({"BUILD_REASON": "ResourceTrigger"}, ["--prometheus", ""], "alert"),
        ({"BUILD_REASON": "ResourceTrigger"}, ["--prometheus", "http://p:9090"], "alert --prometheus http://p:9090"),
        ({"GITHUB_EVENT_NAME": "schedule", "SCHEDULE": "41 */6 * * *"}, [], "alert"),
        ({"BUILD_REASON": "IndividualCI"}, ["--prometheus", "http://p:9090"], "commit"),
        ({"GITHUB_EVENT_NAME": "push"}, [], "commit"),
        ({"GITHUB_EVENT_NAME": "workflow_dispatch", "ALERT": ""}, [], "manual"),
        ({"GITHUB_EVENT_NAME": "workflow_dispatch", "ALERT": "Bad"}, [], "alert --alert Bad"),
        ({}, [], "manual"),
    ],
)  # fmt: skip
def test_reason(tmp_path: Path, environment: dict[str, str], arguments: list[str], expected: str) -> None:
    """Each trigger of both systems has its reason; only a check that finds nothing is not sent to people."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/retrain").symlink_to(ROOT / "scripts/retrain")
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    answer = 'printf "who\\nwhy\\ntrain=false\\n"'
    programs = {
        "scripts/venv": "true",
        "scripts/notify": 'echo "sent: $1"',
        ".venv/bin/python": f'echo "$*" >>{tmp_path}/calls; [[ $2 != monitor ]] || {answer}',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [tmp_path / "scripts/retrain", *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"-m monitor retrain --reason {expected}",
        "-m release.pipeline_outputs train false",
    ]
    is_check = environment.get("SCHEDULE") == "41 */6 * * *"
    assert done.stdout == ("who\nwhy\n" if is_check else "sent: who. why\n")


# part: azure_pipelines, github, pipelines, training
def test_schedules() -> None:
    """The script knows the weekly schedule of both systems; any other schedule is a check."""
    text = (ROOT / "scripts/retrain").read_text()
    azure = read_document(ROOT / "azure-pipelines-train.yml")["schedules"]
    github = read_document(ROOT / ".github/workflows/train.yml")["on"]["schedule"]
    assert [each["cron"] for each in azure] == [each["cron"] for each in github]
    weekly, check = azure
    known = f'"Schedule/{weekly["displayName"]}" | "schedule/{weekly["cron"]}") reason=cadence'
    assert known in text
    assert check["displayName"] not in text


# end: azure_pipelines, github, pipelines, training


def test_usage() -> None:
    """Other arguments are wrong usage."""
    assert subprocess.run([ROOT / "scripts/retrain", "--alert"], capture_output=True).returncode == 2
