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
        *(f"pod scorebox-{number}" for number in range(3)),
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
        f"mismatch: pod scorebox-1 reports {old.model[:26]}, the other 5 report {new.model[:26]}; "
        f"images: pod scorebox-1 reports {old.digest[:19]}, the other 3 report {new.digest[:19]}"
    )


def test_image_differs(environment: ReleaseEnvironment) -> None:
    """The same model in another image is a mismatch."""
    state = environment.cluster_state()
    state["pods"][0]["status"]["containerStatuses"][0]["imageID"] = environment.images[0].reference
    environment.update_cluster(pods=state["pods"])
    done = release("which")
    assert done.code == 1
    assert f"pod scorebox-0 reports {environment.images[0].digest[:19]}" in done.out.splitlines()[-1]
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
    ("failure", "row"),
    [
        ("get", "pods +unknown +- +kubectl get failed: error: Unable to connect"),
        ("not JSON", "pods +unknown +- +kubectl get pods did not print a list"),
        ("no pods", "pods +unknown +- +no pods are running in scorebox-production"),
        ("starting", r"pod scorebox-0 +tiny/2@\S+ +- +no image is running yet"),
        ("unlabelled", r"pod scorebox-0 +unknown +sha256:\w+ +has no model labels"),
        ("origin", "model.lock +unknown +- +git fetch failed: "),
        ("image", "last released image +unknown +- +docker pull failed: "),
        ("releases", "last released image +unknown +- +releases.jsonl: line 3 is not JSON"),
        ("ledger", r"ledger \(production\) +unknown +- +tiny has no version in production"),
    ],
)
def test_unreadable(
    environment: ReleaseEnvironment, failure: str, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that cannot be read has a row with the error, and never counts as agreeing."""
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
    assert (done.code, done.err) == (1, "")
    assert re.search(f"^{row}", done.out, re.MULTILINE), done.out
    assert "could not be checked" in done.out.splitlines()[-1]


def test_stale_clone(environment: ReleaseEnvironment) -> None:
    """The lock is read from the origin, not from the clone's work tree."""
    (environment.path / "clone/model.lock").write_text("{}")
    assert release("which").code == 0
