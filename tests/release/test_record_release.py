"""`python -m release record`: recording what the pods run."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from release import git_branch, kubernetes
from release.errors import ReleaseError
from tests.release.conftest import release
from tests.release.environment import ReleaseEnvironment


@pytest.fixture
def deployed(environment: ReleaseEnvironment) -> ReleaseEnvironment:
    """Return an environment whose pods run tiny/3, which is not recorded yet."""
    environment.run_images(*[environment.images[2]] * 3)
    return environment


def test_record(deployed: ReleaseEnvironment) -> None:
    """Ledger, lock and release log are updated, in a commit that starts no pipeline."""
    image = deployed.images[2]
    done = release("record", "--image", image.reference)
    assert (done.code, done.err) == (0, "")
    assert deployed.ledger_model() == deployed.locked_model() == image.model
    *_, line = deployed.release_log()
    assert line.pop("time") > "2026-01-02"
    assert line == {
        "commit": image.commit,
        "image": image.reference,
        "model": image.model,
        "who": "tester",
    }
    assert deployed.git("log", "-1", "--format=%s|%an", "main") == "Release tiny/3 [skip ci]|tester"
    assert deployed.git("diff", "--name-only", "main~1", "main").split() == ["model.lock", "releases.jsonl"]
    assert release("which").code == 0


def test_again(deployed: ReleaseEnvironment) -> None:
    """Recording a release twice changes nothing."""
    for _ in range(2):
        assert release("record", "--image", deployed.images[2].reference).code == 0
    assert len(deployed.release_log()) == 3
    assert deployed.git("rev-list", "--count", "main") == "3"
    ledger = (deployed.path / "store/tiny/ledger.jsonl").read_text()
    assert ledger.count('"promote"') == 3


def test_clone_is_untouched(deployed: ReleaseEnvironment) -> None:
    """Neither the work tree, the index nor the branch of the clone changes."""
    before = deployed.git("status", "--porcelain", "--branch", where="clone")
    head = deployed.git("rev-parse", "HEAD", where="clone")
    release("record", "--image", deployed.images[2].reference)
    assert deployed.git("rev-parse", "HEAD", where="clone") == head
    assert deployed.git("status", "--porcelain", where="clone") == "\n".join(before.splitlines()[1:])


@pytest.mark.parametrize(
    ("selection", "model"), [("--version 3", 3), ("--version latest", 3), ("--locked", 2)]
)
def test_build(environment: ReleaseEnvironment, selection: str, model: int) -> None:
    """The model of a build is marked in the ledger, once, and no stage changes."""
    tip = environment.git("rev-parse", "main")
    for _ in range(2):
        done = release("record", "--stage", "build", f"--model={selection}")
        assert (done.code, done.err) == (0, "")
        assert done.out == f"{environment.images[model - 1].model} is taken up\n"
    ledger = (environment.path / "store/tiny/ledger.jsonl").read_text()
    assert ledger.count('"build"') == 1
    assert environment.git("rev-parse", "main") == tip
    assert environment.ledger_model() == environment.images[1].model
    assert release("which").code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--stage=build", "--model=latest"], "expected --locked or --version N as the model, got 'latest'"),
        (["--stage=build", "--model=--version 9"], "tiny/9 is not published"),
        (["--model=--locked"], "--stage build needs --model"),
        (["--stage=build", f"--image=registry/demo@sha256:{'0' * 64}"], "--stage build needs --model"),
    ],
)
def test_invalid_build(environment: ReleaseEnvironment, args: list[str], message: str) -> None:
    """A model that is none, or does not exist, is an error."""
    done = release("record", *args)
    assert done.code == 1
    assert message in done.err


def test_staging(deployed: ReleaseEnvironment) -> None:
    """A release to staging is only recorded in the ledger."""
    tip = deployed.git("rev-parse", "main")
    assert release("record", "--image", deployed.images[2].reference, "--stage", "staging").code == 0
    assert deployed.ledger_model("staging") == deployed.images[2].model
    assert (deployed.git("rev-parse", "main"), deployed.ledger_model()) == (tip, deployed.images[1].model)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("one differs", "pod demo-1 runs sha256:"),
        ("canary pod", "pod demo-canary-0 runs sha256:"),
        ("not ready", "pod demo-2 is not ready"),
        ("other label", "pod demo-2 is labelled with tiny/2@sha256:"),
        ("unreachable", "Unable to connect to the server"),
        ("no model", "tiny/3 is not published in the store"),
        ("other model", "the lock names tiny/3@sha256:"),
    ],
)
def test_not_deployed(
    deployed: ReleaseEnvironment, monkeypatch: pytest.MonkeyPatch, case: str, message: str
) -> None:
    """Nothing is recorded unless all pods run the image and the store has its model."""
    monkeypatch.setattr(kubernetes, "READY_S", 0.2)
    pods = deployed.cluster_state()["pods"]
    match case:
        case "one differs":
            deployed.run_images(deployed.images[2], deployed.images[1])
        case "canary pod":
            deployed.run_images(deployed.images[1], deployment="demo-canary")
        case "not ready":
            pods[2]["status"]["conditions"][0]["status"] = "False"
            deployed.update_cluster(pods=pods)
        case "other label":
            pods[2]["metadata"] = deployed.pod("demo-2", deployed.images[1])["metadata"]
            deployed.update_cluster(pods=pods)
        case "unreachable":
            deployed.update_cluster(fail="get")
        case "no model":
            (deployed.path / "store/tiny/3/manifest.json").unlink()
        case "other model":
            path = deployed.path / "store/tiny/3/manifest.json"
            path.write_text(path.read_text() + "\n")
            ledger = deployed.path / "store/tiny/ledger.jsonl"
            lines = ledger.read_text().splitlines(keepends=True)
            ledger.write_text("".join(line for line in lines if json.loads(line)["version"] != 3))
    tip = deployed.git("rev-parse", "main")
    done = release("record", "--image", deployed.images[2].reference)
    assert done.code == 1
    assert message in done.err
    assert (deployed.git("rev-parse", "main"), deployed.ledger_model()) == (tip, deployed.images[1].model)


def test_starting_pod(deployed: ReleaseEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that an autoscaler has just started delays the record, and does not fail it."""
    monkeypatch.setattr(kubernetes, "INTERVAL_S", 0.1)
    pods = deployed.cluster_state()["pods"]
    pods[2]["status"]["conditions"][0]["status"] = "False"
    deployed.update_cluster(pods=pods)
    ready = json.loads(json.dumps(pods).replace('"False"', '"True"'))
    timer = threading.Timer(0.7, lambda: deployed.update_cluster(pods=ready))
    timer.start()
    start = time.monotonic()
    assert release("record", "--image", deployed.images[2].reference).code == 0
    timer.join()
    assert time.monotonic() - start > 0.7
    assert deployed.ledger_model() == deployed.images[2].model


def test_push_refused(deployed: ReleaseEnvironment) -> None:
    """If origin rejects the push, the error says so, and a second run completes the record."""
    hook = deployed.path / "origin.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho the branch is protected >&2\nexit 1\n")
    hook.chmod(0o755)
    done = release("record", "--image", deployed.images[2].reference)
    assert done.code == 1
    assert "pods and ledger have tiny/3@sha256:" in done.err
    assert "could not be pushed: git push failed: " in done.err
    assert "the branch is protected" in done.err
    assert (deployed.ledger_model(), deployed.locked_model()) == (
        deployed.images[2].model,
        deployed.images[1].model,
    )
    hook.unlink()
    assert release("record", "--image", deployed.images[2].reference).code == 0
    assert release("which").code == 0


def test_lost_reply(deployed: ReleaseEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a push succeeds but its reply is lost, the release is still recorded only once."""
    programs = deployed.path / "programs"
    (programs / "git").write_text(
        f'#!/bin/sh\nPATH="${{PATH#{programs}:}}"\ngit "$@"\ncode=$?\n'
        'case "$*" in *push*) echo "fatal: the remote end hung up" >&2; exit 128;; esac\nexit $code\n'
    )
    (programs / "git").chmod(0o755)
    assert release("record", "--image", deployed.images[2].reference).code == 0
    assert [line["model"] for line in deployed.release_log()] == [image.model for image in deployed.images]


def test_concurrent_writes(environment: ReleaseEnvironment) -> None:
    """Concurrent writers, each with its own clone, lose none of each other's changes."""

    def append(number: int) -> str:
        clone = environment.path / f"clone-{number}"
        subprocess.run(["git", "clone", "--quiet", f"{environment.path}/origin.git", str(clone)], check=True)
        code = (
            "from release import git_branch\n"
            f"line = '{number}\\n'\n"
            "def change(tip):\n"
            "    return {'log': (git_branch.read(tip, 'log') or '') + line}\n"
            "print(git_branch.write(change, 'x', 'tester'))"
        )
        environ = {"PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=clone,
            env=environ | {"PATH": "/usr/bin:/bin"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    with ThreadPoolExecutor() as pool:
        commits = list(pool.map(append, range(5)))
    assert sorted(environment.git("show", "main:log").split()) == ["0", "1", "2", "3", "4"]
    assert len(set(commits)) == 5
    assert environment.locked_model() == environment.images[1].model


def test_branch_keeps_changing(environment: ReleaseEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody else pushes during every attempt, the command fails with a message."""
    hook = environment.path / "origin.git/hooks/pre-receive"
    hook.write_text(
        "#!/bin/sh\nunset GIT_QUARANTINE_PATH\n"
        "new=$(git -c user.name=x -c user.email=x@example.com commit-tree main^{tree} -p main -m x)\n"
        "git update-ref refs/heads/main $new\n"
    )
    hook.chmod(0o755)
    monkeypatch.setattr(git_branch, "ATTEMPTS", 3)
    with pytest.raises(ReleaseError, match="origin/main changed during each of 3 attempts"):
        git_branch.write(lambda tip: {"log": "x"}, "x", "tester")
    assert environment.git("rev-list", "--count", "main") == "5"


@pytest.mark.parametrize("image", ["demo:latest", "demo@sha256:12", ""])
def test_usage(image: str) -> None:
    """An image must be given by digest."""
    done = release("record", "--image", image)
    assert done.code == 2
    assert "by digest" in done.err
