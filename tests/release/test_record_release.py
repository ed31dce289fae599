"""Writing down what the pods carry."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from release import git_branch as origin
from release.errors import ReleaseError
from tests.release.conftest import release
from tests.release.scene import Scene


@pytest.fixture
def deployed(scene: Scene) -> Scene:
    """The pods carry tiny/3, which nobody has written down yet."""
    scene.carry(*[scene.images[2]] * 3)
    return scene


def test_record(deployed: Scene) -> None:
    """Ledger, lock and history say what the pods carry, in a commit that starts no pipeline."""
    image = deployed.images[2]
    done = release("record", "--image", image.reference)
    assert (done.code, done.err) == (0, "")
    assert deployed.ledger() == deployed.lock() == image.model
    *_, line = deployed.lines()
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


def test_again(deployed: Scene) -> None:
    """Recording twice is recording once."""
    for _ in range(2):
        assert release("record", "--image", deployed.images[2].reference).code == 0
    assert len(deployed.lines()) == 3
    assert deployed.git("rev-list", "--count", "main") == "3"
    ledger = (deployed.path / "store/tiny/ledger.jsonl").read_text()
    assert ledger.count('"promote"') == 3


def test_clone_is_untouched(deployed: Scene) -> None:
    """Neither the work tree, the index nor the branch of the clone changes."""
    before = deployed.git("status", "--porcelain", "--branch", where="clone")
    head = deployed.git("rev-parse", "HEAD", where="clone")
    release("record", "--image", deployed.images[2].reference)
    assert deployed.git("rev-parse", "HEAD", where="clone") == head
    assert deployed.git("status", "--porcelain", where="clone") == "\n".join(before.splitlines()[1:])


def test_staging(deployed: Scene) -> None:
    """Staging is recorded in its ledger alone."""
    tip = deployed.git("rev-parse", "main")
    assert release("record", "--image", deployed.images[2].reference, "--stage", "staging").code == 0
    assert deployed.ledger("staging") == deployed.images[2].model
    assert (deployed.git("rev-parse", "main"), deployed.ledger()) == (tip, deployed.images[1].model)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("one differs", "pod scorebox-1 carries sha256:"),
        ("canary left", "pod scorebox-canary-0 carries sha256:"),
        ("not ready", "pod scorebox-2 is not ready"),
        ("other label", "pod scorebox-2 says that it carries tiny/2@sha256:"),
        ("unreachable", "Unable to connect to the server"),
        ("no model", "tiny/3 is not published in the store"),
        ("other model", "the lock says tiny/3@sha256:"),
    ],
)
def test_not_carried(deployed: Scene, case: str, message: str) -> None:
    """Nothing is written while a pod does not carry it, or the store does not have it."""
    pods = deployed.state()["pods"]
    match case:
        case "one differs":
            deployed.carry(deployed.images[2], deployed.images[1])
        case "canary left":
            deployed.carry(deployed.images[1], deployment="scorebox-canary")
        case "not ready":
            pods[2]["status"]["conditions"][0]["status"] = "False"
            deployed.change(pods=pods)
        case "other label":
            pods[2]["metadata"] = deployed.pod("scorebox-2", deployed.images[1])["metadata"]
            deployed.change(pods=pods)
        case "unreachable":
            deployed.change(fail="get")
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
    assert (deployed.git("rev-parse", "main"), deployed.ledger()) == (tip, deployed.images[1].model)


def test_push_refused(deployed: Scene) -> None:
    """Where origin takes no push, that is said, and running it again finishes what was begun."""
    hook = deployed.path / "origin.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho the branch is protected >&2\nexit 1\n")
    hook.chmod(0o755)
    done = release("record", "--image", deployed.images[2].reference)
    assert done.code == 1
    assert "pods and ledger have tiny/3@sha256:" in done.err
    assert "could not be pushed: git push failed: " in done.err
    assert "the branch is protected" in done.err
    assert (deployed.ledger(), deployed.lock()) == (deployed.images[2].model, deployed.images[1].model)
    hook.unlink()
    assert release("record", "--image", deployed.images[2].reference).code == 0
    assert release("which").code == 0


def test_lost_answer(deployed: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push that went through though it seemed to fail is not made twice."""
    programs = deployed.path / "programs"
    (programs / "git").write_text(
        f'#!/bin/sh\nPATH="${{PATH#{programs}:}}"\ngit "$@"\ncode=$?\n'
        'case "$*" in *push*) echo "fatal: the remote end hung up" >&2; exit 128;; esac\nexit $code\n'
    )
    (programs / "git").chmod(0o755)
    assert release("record", "--image", deployed.images[2].reference).code == 0
    assert [line["model"] for line in deployed.lines()] == [image.model for image in deployed.images]


def test_at_once(scene: Scene) -> None:
    """Several that write at once, each from a clone of its own, lose no line; what others push stays."""

    def append(number: int) -> str:
        clone = scene.path / f"clone-{number}"
        subprocess.run(["git", "clone", "--quiet", f"{scene.path}/origin.git", str(clone)], check=True)
        code = (
            "from release import origin\n"
            f"line = '{number}\\n'\n"
            "print(origin.write(lambda tip: {'log': (origin.read(tip, 'log') or '') + line}, 'x', 'tester'))"
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
    assert sorted(scene.git("show", "main:log").split()) == ["0", "1", "2", "3", "4"]
    assert len(set(commits)) == 5
    assert scene.lock() == scene.images[1].model


def test_moves_all_the_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch that somebody else always moves first is given up on, with a sentence."""
    hook = scene.path / "origin.git/hooks/pre-receive"
    hook.write_text(
        "#!/bin/sh\nunset GIT_QUARANTINE_PATH\n"
        "new=$(git -c user.name=x -c user.email=x@example.com commit-tree main^{tree} -p main -m x)\n"
        "git update-ref refs/heads/main $new\n"
    )
    hook.chmod(0o755)
    monkeypatch.setattr(origin, "ATTEMPTS", 3)
    with pytest.raises(ReleaseError, match="origin/main moves all the time"):
        origin.write(lambda tip: {"log": "x"}, "x", "tester")
    assert scene.git("rev-list", "--count", "main") == "5"


@pytest.mark.parametrize("image", ["scorebox:latest", "scorebox@sha256:12", ""])
def test_usage(image: str) -> None:
    """An image is named by its digest, or not at all."""
    done = release("record", "--image", image)
    assert done.code == 2
    assert "by digest" in done.err
