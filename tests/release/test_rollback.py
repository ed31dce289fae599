"""`python -m release rollback`."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys

import pytest

from model_loader.registry.stages import withdraw
from model_loader.store import open_store
from release.cluster import Cluster
from release.rollback import NAMESPACE
from release.rollback_plan import changed_paths
from release.rollout_state import RolloutState, read_state
from tests.release.conftest import ROOT, release
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
    deployment = environment.deployment()
    assert deployment is not None
    assert deployment["spec"]["replicas"] == 3
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == environment.images[0].reference
    assert deployment["spec"]["template"]["metadata"]["labels"]["example.com/model-version"] == "1"
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
    environment.run_images(environment.images[2], deployment="demo-canary")
    environment.run_images(environment.images[1], deployment="demo-control")
    assert release("rollback").code == 0
    assert environment.running_digests() == [environment.images[1].digest] * 3


def test_rollout_in_progress(environment: ReleaseEnvironment) -> None:
    """A rollout in progress ends: its state is forgotten, and the autoscaler may remove pods again."""
    key = "horizontalpodautoscaler/demo-production/demo"
    assert release("rollback").code == 0
    objects = environment.cluster_state()["objects"]
    objects[key]["spec"]["behavior"]["scaleDown"]["selectPolicy"] = "Disabled"
    state = {"name": "demo-rollout", "namespace": "demo-production", "resourceVersion": "1"}
    objects["configmap/demo-production/demo-rollout"] = {"kind": "ConfigMap", "metadata": state}
    environment.update_cluster(objects=objects)
    assert release("rollback").code == 0
    objects = environment.cluster_state()["objects"]
    assert "configmap/demo-production/demo-rollout" not in objects
    assert objects[key]["spec"]["behavior"]["scaleDown"]["selectPolicy"] == "Max"
    deployment = objects["deployment/demo-production/demo"]
    assert deployment["metadata"]["annotations"]["example.com/commit"] == environment.images[0].commit


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
        ("incomplete rollout", "pod demo-1 runs sha256:", [1, 1, 0]),
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
    assert "its last ones are tiny/2 of 2026-01-02T00:00:00Z, tiny/1 of 2026-01-01T00:00:00Z" in done.err


def test_withdrawn_model(environment: ReleaseEnvironment) -> None:
    """A release whose model was withdrawn is not deployed."""
    withdraw(open_store(f"file:{environment.path}/store"), "tiny", "1", "leaks names")
    done = release("rollback")
    assert done.code == 1
    assert "tiny/1 cannot be promoted: it was withdrawn by tester at" in done.err
    assert environment.running_digests() == [environment.images[1].digest] * 3


def test_ledger_entry(environment: ReleaseEnvironment) -> None:
    """The ledger has one entry, a rollback with its reason, whatever production had before."""
    path = environment.path / "store/tiny/ledger.jsonl"
    lines = [line for line in path.read_text().splitlines(keepends=True) if "promote" not in line]
    path.write_text("".join(lines))
    assert release("rollback", "--reason", "errs").code == 0
    added = path.read_text().splitlines()[len(lines) :]
    (entry,) = [json.loads(line) for line in added]
    assert (entry["action"], entry["version"], entry["stage"]) == ("rollback", 1, "production")
    assert (entry["by"], entry["reason"]) == ("tester", "errs")
    assert release("which").code == 0


def test_store_in_the_clone(environment: ReleaseEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store may be a directory of the clone, as the lock names it."""
    monkeypatch.delenv("MODEL_STORE")
    clone = environment.path / "clone"
    (environment.path / "store").rename(clone / "model_store")
    lock = json.loads((clone / "model.lock").read_text()) | {"store": "file:model_store"}
    (clone / "model.lock").write_text(json.dumps(lock))
    identity = ("-c", "user.name=me", "-c", "user.email=me@example.com")
    environment.git(*identity, "commit", "--quiet", "-am", "x", where="clone")
    environment.git("push", "--quiet", "origin", "main", where="clone")
    done = release("rollback", "--reason", "errs")
    assert (done.code, done.err) == (0, "")
    assert json.loads(environment.git("show", "main:model.lock"))["store"] == "file:model_store"
    assert '"rollback"' in (clone / "model_store/tiny/ledger.jsonl").read_text().splitlines()[-1]
    assert release("which").code == 0


def test_dry_run(environment: ReleaseEnvironment) -> None:
    """`--dry-run` says what would be done, and changes nothing."""
    before, cluster = recorded(environment), environment.cluster_state()
    old, new, _ = environment.images
    done = release("rollback", "--dry-run", "--reason", "errs")
    assert (done.code, done.err) == (0, "")
    assert (recorded(environment), environment.cluster_state()) == (before, cluster)
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines() if "manifests" not in line)
    assert lines == {
        "image": old.reference,
        "model": old.model,
        "commit": f"{old.commit}, released by me at 2026-01-01T00:00:00Z",
        "pods": f"now     3 stable: tiny/2 in {new.digest[:19]}",
        "ledger": "rollback of production to tiny/1 by tester: errs",
        "origin/main": "model.lock, and a line in releases.jsonl",
        "dry": "run: nothing was changed",
    }
    assert "manifests    Service/demo is new\n" in done.out
    assert re.search("manifests    Deployment/demo: .*spec.template", done.out)


def test_dry_run_of_what_runs(environment: ReleaseEnvironment) -> None:
    """Of manifests that are applied already, `--dry-run` reports no changes, also after the autoscaler's."""
    assert release("rollback").code == 0
    assert "manifests    no changes\n" in release("rollback", "--dry-run").out
    Cluster(NAMESPACE).patch("deployment", "demo", {"spec": {"replicas": 5}})
    assert "manifests    no changes\n" in release("rollback", "--dry-run").out


def test_dry_run_during_rollout(environment: ReleaseEnvironment) -> None:
    """`--dry-run` says which rollout would end."""
    cluster = Cluster(NAMESPACE)
    state = RolloutState("azure-7", "2026-01-01T00:00:00Z", "r@sha256:1", False, None, [], [])
    cluster.create(state.to_object(NAMESPACE))
    assert "rollout      of r@sha256:1 by azure-7, is ended\n" in release("rollback", "--dry-run").out
    assert read_state(cluster) is not None


def test_changed_paths() -> None:
    """Fields are compared by their paths, items of lists by their names; values are not printed."""
    old = {"a": {"b": 1, "c": [{"name": "x", "v": 1}, {"name": "y", "v": 2}]}, "d": [1, 2]}
    new = {"a": {"b": 1, "c": [{"name": "y", "v": 3}, {"name": "x", "v": 1}]}, "d": [2, 1], "e": None}
    assert list(changed_paths(old, new)) == ["a.c.y.v", "d"]
    assert list(changed_paths(old, old)) == []


@pytest.mark.parametrize(
    ("answer", "options", "code"), [("y", (), 0), ("n", (), 1), ("", (), 1), (None, ("--yes",), 0)]
)
def test_question(
    environment: ReleaseEnvironment, answer: str | None, options: tuple[str, ...], code: int
) -> None:
    """On a terminal the command says what it would do and asks, unless there is `--yes`."""
    terminal, stdin = pty.openpty()
    if answer is not None:
        os.write(terminal, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "release", "rollback", *options],
        stdin=stdin,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    os.close(terminal)
    os.close(stdin)
    assert done.returncode == code
    assert ("Roll production back? [y/N]" in done.stderr) == (answer is not None)
    assert ("pods now     3 stable: tiny/2 in " in done.stdout) == (answer is not None)
    assert ("release: nothing was changed" in done.stderr) == (code == 1)
    number = 0 if code == 0 else 1
    assert environment.running_digests() == [environment.images[number].digest] * 3


def test_pods_change_while_recording(environment: ReleaseEnvironment) -> None:
    """If another release gets onto the pods while this one is recorded, the command says so and fails."""
    other = environment.images[1].digest
    hook = environment.path / "origin.git/hooks/pre-receive"
    state = environment.path / "cluster.json"
    hook.write_text(f"#!/bin/sh\nsed -i 's/{environment.images[0].digest}/{other}/g' {state}\n")
    hook.chmod(0o755)
    done = release("rollback")
    assert done.code == 1
    assert f"but the pods have changed since: pod demo-0 runs {other}" in done.err
    assert release("which").code == 1


def test_two_at_once(environment: ReleaseEnvironment) -> None:
    """Two people who roll back at once get one result, recorded once."""
    command = [sys.executable, "-m", "release", "rollback"]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    first = environment.images[0]
    assert recorded(environment) == (first.model, first.model, 3)
    assert release("which").code == 0
    ledger = (environment.path / "store/tiny/ledger.jsonl").read_text()
    assert ledger.count('"rollback"') == 1


def test_killed_at_each_step(environment: ReleaseEnvironment) -> None:
    """A rollback that is killed after any command of kubectl or a push is completed by running it again."""
    programs = environment.path / "programs"
    count = environment.path / "count"
    (programs / "kubectl").rename(programs / "kubectl-1")
    real = shutil.which("git")
    kill = f'echo >>{count}; [ "$(wc -l <{count})" -ne "${{KILL_AFTER:-0}}" ] || kill -9 $PPID\n'
    (programs / "kubectl").write_text(f'#!/bin/sh\n{programs}/kubectl-1 "$@"; code=$?\n{kill}exit $code\n')
    (programs / "git").write_text(
        f'#!/bin/sh\n{real} "$@"; code=$?\n[ "$1" != push ] || {{ {kill}}}\nexit $code\n'
    )
    for name in ("kubectl", "git"):
        (programs / name).chmod(0o755)
    command = [sys.executable, "-m", "release", "rollback"]
    codes = []
    for step in range(1, 30):
        count.write_text("")
        variables = os.environ | {"PYTHONPATH": str(ROOT), "KILL_AFTER": str(step)}
        codes.append(subprocess.run(command, env=variables, check=False, capture_output=True).returncode)
        if codes[-1] == 0:
            break
    assert codes.pop() == 0
    assert len(codes) > 8
    assert set(codes) <= {-9, 1}  # 1: only scripts/render was killed
    first = environment.images[0]
    assert environment.running_digests() == [first.digest] * 3
    assert recorded(environment) == (first.model, first.model, 3)
    assert release("which").code == 0


def test_interrupted(environment: ReleaseEnvironment) -> None:
    """Ctrl-C says what was done, and how to continue."""
    programs = environment.path / "programs"
    (programs / "kubectl").rename(programs / "kubectl-1")
    (programs / "kubectl").write_text(
        f'#!/bin/sh\n[ "$1" != rollout ] || {{ kill -INT $PPID; sleep 5; }}\nexec {programs}/kubectl-1 "$@"\n'
    )
    (programs / "kubectl").chmod(0o755)
    # A shell starts its background jobs, and so perhaps these tests, with SIGINT ignored.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "release", "rollback"]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=variables, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "release: interrupted. Ledger, model.lock and releases.jsonl are unchanged" in done.stderr
    assert "Traceback" not in done.stderr
    assert f"scripts/rollback --to {environment.images[0].digest}" in done.stderr
