"""`python -m release.pod_check`: pods that do not run what they should."""

import pytest

from release.kubernetes import Pod
from release.pod_check import find_problems, main
from tests.release.environment import ReleaseEnvironment

OLD, NEW = "registry/scorebox@sha256:old", "registry/scorebox@sha256:new"
MODEL = "sha256:" + "a" * 64


def pod(track: str, image: str, *, model: str = f"tiny/1@{MODEL}", ready: bool = True) -> Pod:
    """Return a pod named after its track."""
    return Pod(track, track, image, "", model, ready)


CANARY = [pod("stable", OLD), pod("baseline", OLD), pod("canary", NEW)]


@pytest.mark.parametrize(
    ("pods", "expected", "message"),
    [
        ([pod("stable", NEW)], "all", None),
        ([], "all", "0 of 0 pods run"),
        ([pod("stable", NEW), pod("stable", OLD)], "all", "1 of 2 pods run"),
        ([pod("stable", NEW), pod("canary", NEW)], "all", "still pods of the tracks canary"),
        (CANARY, "canary", None),
        ([pod("canary", NEW)], "canary", None),
        ([pod("stable", OLD), pod("baseline", OLD)], "canary", "no canary pod runs"),
        ([pod("stable", OLD), pod("stable", NEW), pod("canary", NEW)], "canary", "different images"),
        ([pod("stable", OLD), pod("canary", NEW, ready=False)], "canary", "canary is not ready"),
        ([pod("stable", OLD)], "none", None),
        ([], "none", None),
        ([pod("stable", OLD), pod("stable", NEW)], "none", "1 of 2 pods run"),
        (CANARY, "none", "still pods of the tracks baseline, canary"),
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
    assert main(["scorebox-production", "--none", OLD]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pods: kubectl get")
