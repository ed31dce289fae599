"""The command line of `scripts/rollout`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from release.rollout_command import main
from release.rollout_state import run_id
from tests.release.simulated_rollout import NEW, OLD, Simulation, manifests

ROOT = Path(__file__).parents[2]
VARIABLES = ("ROLLOUT_RUN", "BUILD_BUILDID", "GITHUB_RUN_ID")


@pytest.fixture(autouse=True)
def outside_of_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables that name a pipeline's run."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def signal_handlers() -> object:
    """Restore the handler that the command line sets."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"BUILD_BUILDID": "7"}, "azure-7"),
        ({"GITHUB_RUN_ID": "8"}, "github-8"),
        ({"ROLLOUT_RUN": "mine", "BUILD_BUILDID": "7", "GITHUB_RUN_ID": "8"}, "mine"),
    ],
)
def test_run_id(environ: dict[str, str], expected: str) -> None:
    """A run is named by the pipeline, or by ROLLOUT_RUN."""
    assert run_id(environ) == expected
    assert "@" in run_id({})


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["start"],
        ["step"],
        ["step", "0"],
        ["step", "101"],
        ["step", "10%"],
        ["step", "-1"],
        ["step", "10", "--wait", "5m"],
        ["promote", "--namespace", "Production"],
        ["reject", "now"],
    ],
    ids=" ".join,
)
def test_usage(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong arguments are a usage error."""
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 2
    assert "usage: rollout" in capsys.readouterr().err


def test_commands(released: Simulation, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands of a rollout succeed one after the other; `status` shows where it is."""
    path = str(released.write(manifests(NEW, 2)))
    assert main(["start", path]) == 0
    assert main(["step", "50", "--wait", "0"]) == 0
    capsys.readouterr()
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["stable", "0/10", "tiny/1"],
        ["canary", "0/5", "tiny/2"],
        ["control", "0/5", "tiny/1"],
    ]
    assert lines[4] == "autoscaler: 10 to 30 pods, held: removes no pods"
    assert lines[5].startswith(f"rollout of {NEW} by ")
    assert main(["promote", "--wait", "0"]) == 0
    capsys.readouterr()
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "autoscaler: 10 to 30 pods, not held",
        "no rollout is in progress in demo-production",
    ]


def test_not_the_owner(
    released: Simulation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that lost its rollout fails, but its rejection succeeds; a person learns how to reject it."""
    monkeypatch.setenv("BUILD_BUILDID", "2")
    path = str(released.write(manifests(NEW, 2)))
    assert main(["start", path]) == 0
    monkeypatch.setenv("BUILD_BUILDID", "3")
    assert main(["step", "10"]) == main(["promote"]) == 1
    assert "the rollout in demo-production belongs to azure-2, not to azure-3" in capsys.readouterr().err
    assert main(["reject"]) == 0
    assert "belongs to azure-2, not to azure-3: nothing to reject" in capsys.readouterr().out
    monkeypatch.delenv("BUILD_BUILDID")
    assert main(["reject"]) == 1
    assert (
        "to reject it: ROLLOUT_RUN=azure-2 scripts/rollout reject --namespace demo-production"
        in capsys.readouterr().err
    )
    monkeypatch.setenv("ROLLOUT_RUN", "azure-2")
    assert main(["reject"]) == 0
    assert released.simulated.images() == [OLD] * 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    """A signal ends kubectl, too, and the message says what to do."""
    (tmp_path / "kubectl").write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 60\n")
    (tmp_path / "kubectl").chmod(0o755)
    command = [sys.executable, "-m", "release.rollout_command", "reject"]
    environ = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    advice = "scripts/rollout reject --namespace demo-production"
    assert err == f"rollout: interrupted; {advice} restores the release before\n"
    status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()
