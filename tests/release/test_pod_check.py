"""`python -m release.pod_check`: pods that do not run what they should."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from release import kubernetes, pod_check
from release.errors import ReleaseError
from release.kubernetes import Pod, read_reported_digest
from release.pod_check import SmokeTestError, check, find_problems, main
from tests.release.environment import ReleaseEnvironment

OLD, NEW = "registry/demo@sha256:old", "registry/demo@sha256:new"
MODEL = "sha256:" + "a" * 64


def pod(track: str, image: str, *, model: str = f"tiny/1@{MODEL}", ready: bool = True) -> Pod:
    """Return a pod named after its track."""
    return Pod(track, track, image, "", model, ready)


CANARY = [pod("stable", OLD), pod("control", OLD), pod("canary", NEW)]


@pytest.mark.parametrize(
    ("pods", "expected", "message"),
    [
        ([pod("stable", NEW)], "all", None),
        ([], "all", "0 of 0 pods run"),
        ([pod("stable", NEW), pod("stable", OLD)], "all", "1 of 2 pods run"),
        ([pod("stable", NEW), pod("canary", NEW)], "all", "still pods of the tracks canary"),
        (CANARY, "canary", None),
        ([pod("canary", NEW)], "canary", None),
        ([pod("canary", NEW), pod("canary", OLD)], "canary", "1 of 2 canary pods run"),
        ([pod("stable", OLD), pod("control", OLD)], "canary", "0 of 0 canary pods run"),
        (
            [pod("stable", OLD), pod("control", "registry/other"), pod("canary", NEW)],
            "canary",
            "different images",
        ),
        ([pod("stable", NEW), pod("control", OLD), pod("canary", NEW)], "stable", None),
        ([pod("stable", NEW), pod("stable", OLD)], "stable", "1 of 2 stable pods run"),
        ([pod("canary", NEW)], "stable", "0 of 0 stable pods run"),
        ([pod("stable", OLD), pod("stable", NEW), pod("canary", NEW)], "canary", "different images"),
        ([pod("stable", OLD), pod("canary", NEW, ready=False)], "canary", "canary is not ready"),
        ([pod("stable", OLD)], "none", None),
        ([], "none", None),
        ([pod("stable", OLD), pod("stable", NEW)], "none", "1 of 2 pods run"),
        (CANARY, "none", "still pods of the tracks canary, control"),
    ],
)
def test_image(pods: list[Pod], expected: str, message: str | None) -> None:
    """Every pod's image is compared with what the current step of the deployment expects."""
    problems = "; ".join(find_problems(pods, [MODEL] * len(pods), NEW, expected))
    assert (message in problems) if message else (problems == "")


def test_model() -> None:
    """A pod that reports another model than its manifest declares is a problem."""
    (problem,) = find_problems([pod("stable", NEW)], ["sha256:" + "b" * 64], NEW, "all")
    assert problem == "stable declares model sha256:aaaaaaaaaaaa but reports sha256:bbbbbbbbbbbb"


def test_no_model_labels() -> None:
    """A pod whose manifest declares no model is a problem."""
    (problem,) = find_problems([pod("stable", NEW, model="")], [MODEL], NEW, "all")
    assert problem == "stable declares model none but reports sha256:aaaaaaaaaaaa"


@pytest.mark.parametrize("failure", ["get", "not JSON"])
def test_no_answer(environment: ReleaseEnvironment, failure: str, capsys: pytest.CaptureFixture[str]) -> None:
    """If kubectl fails or does not print a list, the error is one line."""
    environment.update_cluster(fail=failure)
    assert main(["demo-production", "--none", OLD, "--wait", "0"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pods: kubectl get")


class Pods:
    """Pods that change with every look, and what their checks do."""

    def __init__(self, *looks: list[Pod], smoke: Sequence[int] = ()) -> None:
        """Set what each look finds, the last one repeatedly, and the exit codes of the smoke tests."""
        self.looks, self.smoke = list(looks), list(smoke)
        self.tested: list[list[str]] = []

    def read(self, namespace: str, *, may_be_empty: bool = False) -> list[Pod]:
        """Return the pods of the next look."""
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    @contextmanager
    def forward(self, namespace: str, pod: Pod) -> Iterator[str]:
        """Forward to a pod; one named `gone` ended after it was listed."""
        if pod.name == "gone":
            raise ReleaseError("gone is unreachable")
        yield f"http://{pod.name}"

    def run(self, command: list[str], check: bool) -> "subprocess.CompletedProcess[str]":
        """Run `scripts/smoke`."""
        self.tested.append(command[1:])
        return subprocess.CompletedProcess(command, self.smoke.pop(0))

    def use(self, monkeypatch: pytest.MonkeyPatch) -> "Pods":
        """Let the checks find these pods."""
        monkeypatch.setattr(pod_check, "read_pods", self.read)
        monkeypatch.setattr(pod_check, "forward_port", self.forward)
        monkeypatch.setattr(pod_check, "read_reported_digest", lambda url: MODEL)
        monkeypatch.setattr("release.pod_check.subprocess.run", self.run)
        monkeypatch.setattr(pod_check, "INTERVAL_S", 0.01)
        return self


def named(name: str, *, ready: bool = True) -> Pod:
    """Return a stable pod of the new image."""
    return Pod(name, "stable", NEW, "", f"tiny/1@{MODEL}", ready)


def test_wait(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Pods that an autoscaler adds, or that end after they were listed, do not fail a check."""
    one, two = named("one"), named("two")
    pods = Pods([one, named("two", ready=False)], [one, named("gone")], [one, two], smoke=[0]).use(
        monkeypatch
    )
    check("demo-production", "all", NEW, smoke=True, wait_s=30)
    assert pods.tested == [["http://one", "http://two"]]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["POD", "one", "two"]


def test_wait_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is still wrong at the end is the error, with the table."""
    Pods([named("one", ready=False)]).use(monkeypatch)
    with pytest.raises(ReleaseError, match=r"^one is not ready\nPOD "):
        check("demo-production", "all", NEW, smoke=False, wait_s=0.05)


def test_ended_during_smoke_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a pod ends during its smoke test, the check looks again."""
    one, two = named("one"), named("two")
    pods = Pods([one, two], [one], [one], smoke=[1, 0]).use(monkeypatch)
    check("demo-production", "all", NEW, smoke=True, wait_s=30)
    assert pods.tested == [["http://one", "http://two"], ["http://one"]]


def test_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong answer fails the check at once."""
    pods = Pods([named("one")], smoke=[1]).use(monkeypatch)
    with pytest.raises(SmokeTestError, match="the smoke test of one failed"):
        check("demo-production", "all", NEW, smoke=True, wait_s=30)
    assert len(pods.tested) == 1


def test_silent_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ready pod of the release that does not answer fails the check at once; another one does not."""
    pods = Pods([named("one")]).use(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(kubernetes, "TIMEOUT_S", 0.2)
        monkeypatch.setattr(pod_check, "read_reported_digest", lambda _: read_reported_digest(url))
        with pytest.raises(SmokeTestError, match=r"^one is ready, but does not answer"):
            check("demo-production", "all", NEW, smoke=True, wait_s=30)
        with pytest.raises(ReleaseError, match="does not answer") as over:
            check("demo-production", "canary", OLD, smoke=True, wait_s=0.5)
    assert not isinstance(over.value, SmokeTestError)
    assert not pods.tested


@pytest.mark.parametrize("wait", ["-1", "soon"])
def test_usage(wait: str) -> None:
    """An invalid time is a usage error."""
    with pytest.raises(SystemExit, match="2"):
        main(["demo-production", "--all", NEW, "--wait", wait])
