"""Taking a release back."""

import json

import pytest

from release.errors import ReleaseError
from release.release_log import Release, before, find, parse
from tests.release.conftest import release
from tests.release.scene import Scene


def written(scene: Scene) -> tuple[str, str, int]:
    """What ledger and lock say, and how many lines the history has."""
    return scene.ledger(), scene.lock(), len(scene.lines())


def test_rollback(scene: Scene) -> None:
    """One command brings the release before back, on every pod, and writes it down everywhere."""
    old, *_ = scene.images
    done = release("rollback", "--reason", "errs on white wine")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(
        f"going back to {old.reference}, {old.model}, commit {old.commit}, of 2026-01-01"
    )
    assert scene.carried() == [old.digest] * 3
    assert written(scene) == (old.model, old.model, 3)
    line = scene.lines()[-1]
    assert (line["image"], line["commit"], line["who"]) == (old.reference, old.commit, "tester")
    assert line["note"] == "rollback: errs on white wine"
    assert scene.git("log", "-1", "--format=%s", "main") == "Roll back to tiny/1 [skip ci]"
    ledger = (scene.path / "store/tiny/ledger.jsonl").read_text().splitlines()
    assert json.loads(ledger[-1])["action"] == "rollback"
    assert release("which").code == 0


def test_manifests(scene: Scene) -> None:
    """The origin's manifests are applied, with the earlier image and model, and today's replicas."""
    release("rollback")
    deployment = scene.state()["deployments"]["scorebox"]
    assert deployment["spec"]["replicas"] == 3
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == scene.images[0].reference
    assert deployment["spec"]["template"]["metadata"]["labels"]["scorebox.dev/model-version"] == "1"
    assert scene.git("worktree", "list", where="clone").count("\n") == 0
    assert (scene.path / "clone/.venv/bin/python").exists()


def test_again(scene: Scene) -> None:
    """Running it twice does not go back twice."""
    assert release("rollback").code == 0
    after = written(scene)
    assert release("rollback").code == 0
    assert written(scene) == after
    assert scene.carried() == [scene.images[0].digest] * 3


def test_unrecorded(scene: Scene) -> None:
    """A release that reached pods but was never written down is taken back to the last that was."""
    _, current, new = scene.images
    scene.carry(current, new, new)
    for _ in range(2):
        assert release("rollback").code == 0
        assert scene.carried() == [current.digest] * 3
    assert scene.lock() == current.model


def test_canary_goes(scene: Scene) -> None:
    """What is left of a canary goes too."""
    scene.carry(scene.images[2], deployment="scorebox-canary")
    scene.carry(scene.images[1], deployment="scorebox-baseline")
    assert release("rollback").code == 0
    assert scene.carried() == [scene.images[1].digest] * 3


@pytest.mark.parametrize("by", ["commit", "short commit", "image", "digest", "model", "version"])
def test_to(scene: Scene, by: str) -> None:
    """A release can be named by its commit, image or model; forward too."""
    second = scene.images[1]
    assert release("rollback").code == 0
    name = {
        "commit": second.commit,
        "short commit": second.commit[:7],
        "image": second.reference,
        "digest": second.digest[:19],
        "model": "tiny/2",
        "version": "2",
    }[by]
    assert release("rollback", "--to", name).code == 0
    assert scene.carried() == [second.digest] * 3
    assert scene.lock() == scene.ledger() == second.model


@pytest.mark.parametrize(
    ("fail", "message", "carried"),
    [
        ("apply", 'kubectl apply failed: error: no matches for kind "PodMonitor"', [1, 1, 1]),
        ("rollout", "kubectl rollout failed: error: timed out waiting for the condition", [1, 1, 0]),
        ("liar", "pod scorebox-1 carries sha256:", [1, 1, 0]),
    ],
)
def test_half_way(scene: Scene, fail: str, message: str, carried: list[int]) -> None:
    """Nothing is written before all pods carry it; the message says what to run, and that finishes it."""
    first, second, _ = scene.images
    before = written(scene)
    scene.change(fail=fail)
    done = release("rollback")
    assert done.code == 1
    assert message in done.err
    assert f"scripts/rollback --to {first.digest}" in done.err
    assert written(scene) == before
    assert sorted(scene.carried()) == sorted(scene.images[number].digest for number in carried)
    assert release("which").code == (0 if fail == "apply" else 1)
    scene.change(fail="")
    assert release("rollback", "--to", first.digest).code == 0
    assert written(scene) == (first.model, first.model, 3)
    assert second.digest not in scene.carried()


def test_push_refused(scene: Scene) -> None:
    """Where origin takes no push the pods carry it all the same; running it again writes it down."""
    hook = scene.path / "origin.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    done = release("rollback")
    assert done.code == 1
    assert "pods and ledger have tiny/1@sha256:" in done.err
    assert written(scene) == (scene.images[0].model, scene.images[1].model, 2)
    hook.unlink()
    assert release("rollback").code == 0
    assert written(scene) == (scene.images[0].model, scene.images[0].model, 3)


def test_model_is_gone(scene: Scene) -> None:
    """What could not be written down afterwards is not deployed."""
    (scene.path / "store/tiny/1/manifest.json").unlink()
    done = release("rollback")
    assert done.code == 1
    assert "tiny/1 is not published in the store" in done.err
    assert scene.carried() == [scene.images[1].digest] * 3


def test_nothing_named(scene: Scene) -> None:
    """A release that never was is refused before anything moves."""
    done = release("rollback", "--to", "tiny/3")
    assert done.code == 1
    assert "releases.jsonl has no release tiny/3" in done.err


def line(image: int, note: str | None = None) -> Release:
    """A release of an image."""
    digest = f"sha256:{image:064x}"
    return Release("2026-01-01T00:00:00Z", "0" * 40, f"r@{digest}", f"m/{image}@{digest}", "me", note)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([1, 2], 1),
        ([1, 2, 2], 1),
        ([1, 2, 3, -2], 2),
        ([1, 2, 3, -2, 4], 2),
        ([1, 2, -2], 2),
        ([1, 2, 3, -1], 1),
    ],
)
def test_before(images: list[int], expected: int) -> None:
    """The one before the last; after a rollback, which is negative here, what that went to."""
    releases = [line(abs(image), "rollback" if image < 0 else None) for image in images]
    assert before(releases).image == line(expected).image


def test_nothing_before() -> None:
    """The first release has none before it."""
    for releases in ([], [line(1)]):
        with pytest.raises(ReleaseError, match="nothing to go back to"):
            before(releases)


def test_find_last() -> None:
    """Where a name fits several, the last is meant."""
    assert find([line(1), line(2), line(1, "rollback")], "m/1").note == "rollback"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}\n", "line 1 is not a release"),
        ("[]\n", "line 1 is not a release"),
        (line(1).line() + "\n", "line 2 is not JSON"),
        (line(1).line()[:-1], "the last line is cut off"),
        (line(1).line().replace("r@", "r:1@sha256:"), "image cannot be"),
        (line(1).line().replace('"me"', "7"), "line 1: who cannot be 7"),
        (line(1).line().replace('"who"', '"whom"'), "line 1 is not a release"),
    ],
)
def test_bad_history(text: str, message: str) -> None:
    """A line that is no release is refused, with its number."""
    with pytest.raises(ReleaseError, match=message):
        parse(text)


def test_history_keeps_text() -> None:
    """A line is read as it was written, whatever is in it."""
    odd = line(1, 'rollback: "schlecht"\u2028ß')
    assert parse(line(2).line() + odd.line()) == [line(2), odd]
