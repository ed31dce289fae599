"""`python -m release which`: the sources that say what is in production."""

import json
import re
import shutil

import pytest

from tests.release.conftest import docker, release
from tests.release.environment import ReleaseEnvironment


def test_agree(environment: ReleaseEnvironment) -> None:
    """If all sources agree, the table has a row for each and the exit code is 0."""
    done = release("which")
    assert (done.code, done.err) == (0, "")
    model, _, digest = environment.images[1].model.partition("@")
    sources = [line.split("  ")[0] for line in done.out.splitlines()]
    assert sources == [
        "SOURCE",
        "ledger (production)",
        "model.lock",
        "last released image",
        *(f"pod demo-{number}" for number in range(3)),
        f"all agree: {environment.images[1].model}",
    ]
    assert done.out.count(f"{model}@{digest[:19]} ") == 6
    assert done.out.count(environment.images[1].digest[:19]) == 4


def test_image_is_pulled(environment: ReleaseEnvironment) -> None:
    """An image that the engine does not have is pulled."""
    docker("rmi", "--force", environment.images[1].reference)
    assert release("which").code == 0


def test_pod_differs(environment: ReleaseEnvironment) -> None:
    """A pod with another model is named, with its model and that of the others."""
    old, new, _ = environment.images
    environment.run_images(new, old, new)
    done = release("which")
    assert done.code == 1
    *_, sentence = done.out.splitlines()
    assert sentence == (
        f"differs: pod demo-1 reports {old.model[:26]}, the other 5 report {new.model[:26]}; "
        f"images: pod demo-1 reports {old.digest[:19]}, the other 3 report {new.digest[:19]}"
    )


def test_image_differs(environment: ReleaseEnvironment) -> None:
    """The same model in another image is a mismatch."""
    state = environment.cluster_state()
    state["pods"][0]["status"]["containerStatuses"][0]["imageID"] = environment.images[0].reference
    environment.update_cluster(pods=state["pods"])
    done = release("which")
    assert done.code == 1
    assert f"pod demo-0 reports {environment.images[0].digest[:19]}" in done.out.splitlines()[-1]
    assert "tiny/" not in done.out.splitlines()[-1]


def test_ledger_differs(environment: ReleaseEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A promotion in the ledger without a release is a mismatch."""
    (environment.path / "store/tiny/ledger.jsonl").write_text(
        (environment.path / "store/tiny/ledger.jsonl").read_text()
        + json.dumps(
            {
                "time": "2026-01-03T00:00:00Z",
                "action": "promote",
                "version": 3,
                "digest": environment.images[2].model.partition("@")[2],
                "by": "somebody",
                "stage": "production",
            }
        )
        + "\n"
    )
    done = release("which")
    assert done.code == 1
    assert f": ledger (production) reports {environment.images[2].model[:26]}, the other 5 " in done.out
    assert "promote by somebody at 2026-01-03T00:00:00Z" in done.out


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        ("no pods", "differs: pods: no pods are running in demo-production"),
        ("starting", "differs: pod demo-0: no image is running yet"),
        ("unlabelled", "differs: pod demo-0: has no model labels"),
        ("ledger", r"differs: ledger \(production\): tiny has no version in production"),
        ("get", "unavailable: pods: kubectl get failed: error: Unable to connect"),
        ("not JSON", "unavailable: pods: kubectl get pods did not print a list"),
        (
            "origin",
            r"unavailable: ledger \(production\), model.lock, last released image: git ls-remote",
        ),
        ("image", "unavailable: last released image: docker pull failed: "),
        ("releases", "unavailable: last released image: releases.jsonl: line 3 is not JSON"),
    ],
)
def test_no_model(
    environment: ReleaseEnvironment, failure: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source without a model differs; one that is unavailable has a line with the reason, once."""
    pods = environment.cluster_state()["pods"]
    match failure:
        case "no pods":
            environment.update_cluster(
                pods=[pod | {"metadata": {**pod["metadata"], "deletionTimestamp": "now"}} for pod in pods]
            )
        case "starting":
            del pods[0]["status"]["containerStatuses"]
            environment.update_cluster(pods=pods)
        case "unlabelled":
            del pods[0]["metadata"]["annotations"]
            environment.update_cluster(pods=pods)
        case "origin":
            shutil.rmtree(environment.path / "origin.git")
        case "image" | "releases":
            missing = environment.images[1].reference.replace(
                environment.images[1].digest, f"sha256:{0:064x}"
            )
            line = (
                json.dumps(environment.release_log()[-1] | {"image": missing}) if failure == "image" else "?"
            )
            with (environment.path / "clone/releases.jsonl").open("a") as file:
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
            environment.git(*commit, where="clone")
            environment.git("push", "--quiet", "origin", "main", where="clone")
        case "ledger":
            (environment.path / "store/tiny/ledger.jsonl").unlink()
        case _:
            environment.update_cluster(fail=failure)
    done = release("which")
    assert (done.code, done.err) == (1 if expected.startswith("differs") else 3, "")
    assert len(re.findall(f"^{expected}", done.out, re.MULTILINE)) == 1, done.out
    if done.code == 3:
        assert done.out.splitlines()[-1] == "no difference between the sources that answered"


def test_differs_and_not_asked(environment: ReleaseEnvironment) -> None:
    """If sources differ and another one is unavailable, both are said, and the exit code is 1."""
    old, new, _ = environment.images
    environment.run_images(new, old, new)
    shutil.rmtree(environment.path / "origin.git")
    done = release("which")
    assert done.code == 1
    *_, unasked, different = done.out.splitlines()
    assert unasked.startswith("unavailable: ledger (production), model.lock, last released image: git ")
    assert different.startswith("differs: pod demo-1 reports tiny/1@")


def test_nothing_asked(environment: ReleaseEnvironment) -> None:
    """If no source answers, nothing is said about the model."""
    shutil.rmtree(environment.path / "origin.git")
    environment.update_cluster(fail="get")
    done = release("which")
    assert done.code == 3
    assert done.out.count("unavailable: ") == 2
    assert done.out.splitlines()[-1] == "no source answered"
    assert "tiny" not in done.out


def test_stale_clone(environment: ReleaseEnvironment) -> None:
    """The lock is read from the origin, not from the clone's work tree."""
    (environment.path / "clone/model.lock").write_text("{}")
    assert release("which").code == 0
