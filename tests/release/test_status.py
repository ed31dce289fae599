"""Who says what is in production."""

import json
import re
import shutil

import pytest

from tests.release.conftest import docker, release
from tests.release.scene import Scene


def test_agree(scene: Scene) -> None:
    """Where all say the same, the table has everybody and the exit code is 0."""
    done = release("which")
    assert (done.code, done.err) == (0, "")
    model, _, digest = scene.images[1].model.partition("@")
    who = [line.split("  ")[0] for line in done.out.splitlines()]
    assert who == [
        "WHO",
        "ledger (production)",
        "model.lock",
        "image last released",
        *(f"pod scorebox-{number}" for number in range(3)),
        f"all agree: {scene.images[1].model}",
    ]
    assert done.out.count(f"{model}@{digest[:19]} ") == 6
    assert done.out.count(scene.images[1].digest[:19]) == 4


def test_image_is_pulled(scene: Scene) -> None:
    """An image that this machine does not have is asked all the same."""
    docker("rmi", "--force", scene.images[1].reference)
    assert release("which").code == 0


def test_pod_differs(scene: Scene) -> None:
    """A pod that carries another model is named, with what it carries and what the others do."""
    old, new, _ = scene.images
    scene.carry(new, old, new)
    done = release("which")
    assert done.code == 1
    *_, sentence = done.out.splitlines()
    assert sentence == (
        f"they do not agree: pod scorebox-1 says {old.model[:26]}, the other 5 say {new.model[:26]}; "
        f"of images, pod scorebox-1 says {old.digest[:19]}, the other 3 say {new.digest[:19]}"
    )


def test_image_differs(scene: Scene) -> None:
    """The same model in another image is a difference too."""
    state = scene.state()
    state["pods"][0]["status"]["containerStatuses"][0]["imageID"] = scene.images[0].reference
    scene.change(pods=state["pods"])
    done = release("which")
    assert done.code == 1
    assert f"pod scorebox-0 says {scene.images[0].digest[:19]}" in done.out.splitlines()[-1]
    assert "tiny/" not in done.out.splitlines()[-1]


def test_ledger_differs(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a ledger that was promoted behind everybody's back."""
    (scene.path / "store/tiny/ledger.jsonl").write_text(
        (scene.path / "store/tiny/ledger.jsonl").read_text()
        + json.dumps(
            {
                "time": "2026-01-03T00:00:00Z",
                "action": "promote",
                "version": 3,
                "digest": scene.images[2].model.partition("@")[2],
                "by": "somebody",
                "stage": "production",
            }
        )
        + "\n"
    )
    done = release("which")
    assert done.code == 1
    assert f": ledger (production) says {scene.images[2].model[:26]}, the other 5 " in done.out
    assert "promote by somebody at 2026-01-03T00:00:00Z" in done.out


@pytest.mark.parametrize(
    ("fail", "row"),
    [
        ("get", "pods +not known +- +kubectl get failed: error: Unable to connect"),
        ("rubbish", "pods +not known +- +kubectl get pods answers what is no list"),
        ("none", "pods +not known +- +no pod runs in scorebox-production"),
        ("starting", r"pod scorebox-0 +tiny/2@\S+ +- +runs no image yet"),
        ("unlabelled", r"pod scorebox-0 +not known +sha256:\w+ +has no labels of a model"),
        ("origin", "model.lock +not known +- +git fetch failed: "),
        ("image", "image last released +not known +- +docker pull failed: "),
        ("releases", "image last released +not known +- +releases.jsonl: line 3 is not JSON"),
        ("ledger", r"ledger \(production\) +not known +- +tiny has no version in production"),
    ],
)
def test_silent(scene: Scene, fail: str, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot be asked has a row that says why, and is never taken to agree."""
    pods = scene.state()["pods"]
    match fail:
        case "none":
            scene.change(
                pods=[pod | {"metadata": {**pod["metadata"], "deletionTimestamp": "now"}} for pod in pods]
            )
        case "starting":
            del pods[0]["status"]["containerStatuses"]
            scene.change(pods=pods)
        case "unlabelled":
            del pods[0]["metadata"]["annotations"]
            scene.change(pods=pods)
        case "origin":
            shutil.rmtree(scene.path / "origin.git")
        case "image" | "releases":
            gone = scene.images[1].reference.replace(scene.images[1].digest, f"sha256:{0:064x}")
            line = json.dumps(scene.lines()[-1] | {"image": gone}) if fail == "image" else "?"
            with (scene.path / "clone/releases.jsonl").open("a") as file:
                file.write(f"{line}\n")
            commit = (
                "-c",
                "user.name=me",
                "-c",
                "user.email=me@example.com",
                "commit",
                "--quiet",
                "-am",
                "x",
            )
            scene.git(*commit, where="clone")
            scene.git("push", "--quiet", "origin", "main", where="clone")
        case "ledger":
            (scene.path / "store/tiny/ledger.jsonl").unlink()
        case _:
            scene.change(fail=fail)
    done = release("which")
    assert (done.code, done.err) == (1, "")
    assert re.search(f"^{row}", done.out, re.MULTILINE), done.out
    assert "could not tell" in done.out.splitlines()[-1]


def test_stale_clone(scene: Scene) -> None:
    """What the origin has counts, and not what an old clone on somebody's machine has."""
    (scene.path / "clone/model.lock").write_text("{}")
    assert release("which").code == 0
