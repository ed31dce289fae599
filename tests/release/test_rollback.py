"""`python -m release rollback`."""

import json

import pytest

from tests.release.conftest import release
from tests.release.environment import ReleaseEnvironment


def recorded(environment: ReleaseEnvironment) -> tuple[str, str, int]:
    """Return the models of ledger and lock, and the number of lines in the release log."""
    return environment.ledger_model(), environment.locked_model(), len(environment.release_log())


def test_rollback(environment: ReleaseEnvironment) -> None:
    """The previous release is restored on every pod, and recorded in ledger, lock and release log."""
    old, *_ = environment.images
    done = release("rollback", "--reason", "errs on white wine")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(
        f"rolling back to {old.reference}, {old.model}, commit {old.commit}, of 2026-01-01"
    )
    assert environment.running_digests() == [old.digest] * 3
    assert recorded(environment) == (old.model, old.model, 3)
    line = environment.release_log()[-1]
    assert (line["image"], line["commit"], line["who"]) == (old.reference, old.commit, "tester")
    assert line["note"] == "rollback: errs on white wine"
    assert environment.git("log", "-1", "--format=%s", "main") == "Roll back to tiny/1 [skip ci]"
    ledger = (environment.path / "store/tiny/ledger.jsonl").read_text().splitlines()
    assert json.loads(ledger[-1])["action"] == "rollback"
    assert release("which").code == 0


def test_manifests(environment: ReleaseEnvironment) -> None:
    """The origin's manifests are applied, with the earlier image and model and the current replicas."""
    release("rollback")
    deployment = environment.cluster_state()["deployments"]["scorebox"]
    assert deployment["spec"]["replicas"] == 3
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == environment.images[0].reference
    assert deployment["spec"]["template"]["metadata"]["labels"]["scorebox.dev/model-version"] == "1"
    assert environment.git("worktree", "list", where="clone").count("\n") == 0
    assert (environment.path / "clone/.venv/bin/python").exists()


def test_again(environment: ReleaseEnvironment) -> None:
    """Running the command twice does not go back twice."""
    assert release("rollback").code == 0
    after = recorded(environment)
    assert release("rollback").code == 0
    assert recorded(environment) == after
    assert environment.running_digests() == [environment.images[0].digest] * 3


def test_unrecorded_release(environment: ReleaseEnvironment) -> None:
    """If pods run a release that was never recorded, the last recorded one is restored."""
    _, current, new = environment.images
    environment.run_images(current, new, new)
    for _ in range(2):
        assert release("rollback").code == 0
        assert environment.running_digests() == [current.digest] * 3
    assert environment.locked_model() == current.model


def test_canary_is_deleted(environment: ReleaseEnvironment) -> None:
    """Canary and control pods are deleted."""
    environment.run_images(environment.images[2], deployment="scorebox-canary")
    environment.run_images(environment.images[1], deployment="scorebox-baseline")
    assert release("rollback").code == 0
    assert environment.running_digests() == [environment.images[1].digest] * 3


@pytest.mark.parametrize("by", ["commit", "short commit", "image", "digest", "model", "version"])
def test_to(environment: ReleaseEnvironment, by: str) -> None:
    """`--to` accepts a commit, image or model, and can go forward."""
    second = environment.images[1]
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
    assert environment.running_digests() == [second.digest] * 3
    assert environment.locked_model() == environment.ledger_model() == second.model


@pytest.mark.parametrize(
    ("failure", "message", "running"),
    [
        ("apply", 'kubectl apply failed: error: no matches for kind "PodMonitor"', [1, 1, 1]),
        ("rollout", "kubectl rollout failed: error: timed out waiting for the condition", [1, 1, 0]),
        ("incomplete rollout", "pod scorebox-1 runs sha256:", [1, 1, 0]),
    ],
)
def test_failed_deployment(
    environment: ReleaseEnvironment, failure: str, message: str, running: list[int]
) -> None:
    """Nothing is recorded until all pods run the release. The message has the command that continues."""
    first, second, _ = environment.images
    before = recorded(environment)
    environment.update_cluster(fail=failure)
    done = release("rollback")
    assert done.code == 1
    assert message in done.err
    assert f"scripts/rollback --to {first.digest}" in done.err
    assert recorded(environment) == before
    assert sorted(environment.running_digests()) == sorted(
        environment.images[number].digest for number in running
    )
    assert release("which").code == (0 if failure == "apply" else 1)
    environment.update_cluster(fail="")
    assert release("rollback", "--to", first.digest).code == 0
    assert recorded(environment) == (first.model, first.model, 3)
    assert second.digest not in environment.running_digests()


def test_push_refused(environment: ReleaseEnvironment) -> None:
    """If origin rejects the push, the pods keep the release, and a second run records it."""
    hook = environment.path / "origin.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    done = release("rollback")
    assert done.code == 1
    assert "pods and ledger have tiny/1@sha256:" in done.err
    assert recorded(environment) == (environment.images[0].model, environment.images[1].model, 2)
    hook.unlink()
    assert release("rollback").code == 0
    assert recorded(environment) == (environment.images[0].model, environment.images[0].model, 3)


def test_missing_model(environment: ReleaseEnvironment) -> None:
    """A release that could not be recorded is not deployed."""
    (environment.path / "store/tiny/1/manifest.json").unlink()
    done = release("rollback")
    assert done.code == 1
    assert "tiny/1 is not published in the store" in done.err
    assert environment.running_digests() == [environment.images[1].digest] * 3


def test_unknown_release(environment: ReleaseEnvironment) -> None:
    """An unknown release is refused before anything changes."""
    done = release("rollback", "--to", "tiny/3")
    assert done.code == 1
    assert "releases.jsonl has no release tiny/3" in done.err
