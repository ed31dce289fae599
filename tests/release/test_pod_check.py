"""What is said of pods that do not carry what they should."""

import pytest

from release.kubernetes import Pod
from release.pod_check import main, wrong
from tests.release.scene import Scene

OLD, NEW = "registry/scorebox@sha256:old", "registry/scorebox@sha256:new"
MODEL = "sha256:" + "a" * 64


def pod(track: str, image: str, *, told: str = MODEL, ready: bool = True) -> Pod:
    """A pod that is named as its track is."""
    return Pod(track, track, image, "", f"tiny/1@{told}", ready)


CANARY = [pod("stable", OLD), pod("baseline", OLD), pod("canary", NEW)]


@pytest.mark.parametrize(
    ("found", "where", "words"),
    [
        ([pod("stable", NEW)], "all", None),
        ([], "all", "0 of 0 pods carry"),
        ([pod("stable", NEW), pod("stable", OLD)], "all", "1 of 2 pods carry"),
        ([pod("stable", NEW), pod("canary", NEW)], "all", "still pods of canary"),
        (CANARY, "canary", None),
        ([pod("canary", NEW)], "canary", None),
        ([pod("stable", OLD), pod("baseline", OLD)], "canary", "no canary carries"),
        ([pod("stable", OLD), pod("stable", NEW), pod("canary", NEW)], "canary", "different images"),
        ([pod("stable", OLD), pod("canary", NEW, ready=False)], "canary", "canary is not ready"),
        ([pod("stable", OLD)], "none", None),
        ([], "none", None),
        ([pod("stable", OLD), pod("stable", NEW)], "none", "1 of 2 pods carry"),
        (CANARY, "none", "still pods of baseline and canary"),
    ],
)
def test_image(found: list[Pod], where: str, words: str | None) -> None:
    """Every pod's image is held against the step that the deployment is at."""
    said = "; ".join(wrong(found, [MODEL] * len(found), NEW, where))
    assert (words in said) if words else (said == "")


def test_model() -> None:
    """A pod that carries another model than its manifest says is found out."""
    (sentence,) = wrong([pod("stable", NEW)], ["sha256:" + "b" * 64], NEW, "all")
    assert sentence == "stable was told to carry sha256:aaaaaaaaaaaa and carries sha256:bbbbbbbbbbbb"


@pytest.mark.parametrize("fault", ["get", "rubbish"])
def test_no_answer(scene: Scene, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that does not answer, or with what is no list, is said in one line."""
    scene.change(fail=fault)
    assert main(["scorebox-production", "--none", OLD]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pods: kubectl get")
