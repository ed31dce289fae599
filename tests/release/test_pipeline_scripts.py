"""The scripts that only the pipelines' steps call."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "0" * 64
IMAGE = f"registry.example.com/demo@{DIGEST}"
WHY = "model_loader: accuracy 0.8, should be at least 0.9"
Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A function that runs a script in another repository, with the given programs beside the system's.

    Programs are name → text of a shell script. `calls` in `tmp_path` has what they were called with.
    """
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "scripts").mkdir()
    for name in ("verify_image", "in_cluster", "registry_login"):
        (tmp_path / "scripts" / name).symlink_to(ROOT / "scripts" / name)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)

    def run(
        *command: str, programs_: dict[str, str] | None = None, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        for name, text in (programs_ or {}).items():
            path = programs / name
            path.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >>"{tmp_path}/calls"\n{text}\n')
            path.chmod(0o755)
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), **env}
        return subprocess.run(
            [str(tmp_path / "scripts" / command[0]), *command[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_verify_image(script: Script, tmp_path: Path) -> None:
    """Notation trusts one certificate, for images of one name."""
    (tmp_path / "images.crt").write_text("certificate")
    keep = f'cp -r "$XDG_CONFIG_HOME/notation" "{tmp_path}/kept"'
    done = script("verify_image", IMAGE, programs_={"notation": keep})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "calls").read_text() == f"notation verify {IMAGE}\n"
    (policy,) = json.loads((tmp_path / "kept/trustpolicy.json").read_text())["trustPolicies"]
    assert policy["registryScopes"] == ["registry.example.com/demo"]
    assert policy["signatureVerification"] == {"level": "strict"}
    assert policy["trustStores"] == ["ca:images"]
    assert (tmp_path / "kept/truststore/x509/ca/images/images.crt").read_text() == "certificate"


@pytest.mark.parametrize(
    ("arguments", "certificate", "programs", "code", "words"),
    [
        ((), "x", {"notation": "true"}, 2, "usage: verify_image"),
        (
            ("registry.example.com/demo:latest",),
            "x",
            {"notation": "true"},
            2,
            "expected an image by digest",
        ),
        ((IMAGE,), "", {"notation": "true"}, 1, "no images.crt"),
        ((IMAGE,), "x", {}, 1, "notation is not installed"),
        ((IMAGE,), "x", {"notation": "exit 1"}, 1, "has no valid signature"),
    ],
    ids=["no image", "tag", "no certificate", "no notation", "not signed"],
)
def test_unverified(
    script: Script,
    tmp_path: Path,
    arguments: tuple[str, ...],
    certificate: str,
    programs: dict[str, str],
    code: int,
    words: str,
) -> None:
    """An image that cannot be verified is an error that names the reason."""
    (tmp_path / "images.crt").write_text(certificate)
    done = script("verify_image", *arguments, programs_=programs)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize(("options", "reachable"), [((), True), (("--cluster-only",), False)])
def test_cluster_only(script: Script, tmp_path: Path, options: tuple[str, ...], reachable: bool) -> None:
    """With --cluster-only a command runs although the registry and the metrics cannot be reached."""
    fails = '[[ "$1 $2" == "aks get-credentials" ]] || exit 1'
    az = "echo token" if reachable else fails
    done = script(
        "in_cluster",
        *options,
        "env",
        programs_={"az": az, "kubelogin": "true"},
        RESOURCEGROUP="group",
        CLUSTER="cluster",
        REGISTRY="registry.azurecr.io",
    )
    assert done.returncode == 0, done.stderr
    assert ("PROMETHEUS_TOKEN=token" in done.stdout) is reachable
    assert ("az acr login --name registry" in (tmp_path / "calls").read_text()) is reachable


# part: training
@pytest.mark.parametrize("arguments", [("--only",), ("--only", "test"), ("--sign-key",), ("x", "y")])
def test_train_usage(arguments: tuple[str, ...]) -> None:
    """Unknown arguments of scripts/train are refused before anything is trained."""
    done = subprocess.run(
        [ROOT / "scripts/train", *arguments], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: train ")


@pytest.mark.parametrize(
    ("part", "failing", "told"),
    [
        ("snapshot", "", []),
        ("train", "training.train", ["wine: the training failed, or refused its data"]),
        ("gate", "", []),
        (
            "gate",
            "model_loader gate",
            [f"wine: the new model is not published, the one in production stays: {WHY}"],
        ),
        ("publish", "", ["wine: published wine/3"]),
        ("publish", "model_loader publish", []),
    ],
)
def test_train_parts(tmp_path: Path, part: str, failing: str, told: list[str]) -> None:
    """A part runs its own programs, and people are told what came of it."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/train").symlink_to(ROOT / "scripts/train")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    python = f"""\
[[ "$*" != *"${{FAILING:-none}}"* ]] || {{ echo "table"; echo "note" >&2; echo "{WHY}" >&2; exit 1; }}
[[ "$*" != *publish* ]] || printf "FILE BYTES\npublished wine/3\n"
"""
    programs = {"scripts/venv": "", "scripts/notify": 'echo "$1" >>told', ".venv/bin/python": python}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [tmp_path / "scripts/train", "--only", part],
        env={"PATH": os.environ["PATH"], "FAILING": failing, "MODEL_SIGN_KEY": "key", "MODEL_NAME": "wine"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == int(bool(failing)), done.stderr
    assert (WHY in done.stderr) is bool(failing)
    lines = (tmp_path / "told").read_text().splitlines() if (tmp_path / "told").exists() else []
    assert lines == told


@pytest.mark.parametrize(
    ("lock", "environment", "name"),
    [
        ('{\n  "name": "risk",\n  "version": 2\n}\n', {}, "risk"),
        ('{\n  "name": "risk",\n  "version": 2\n}\n', {"MODEL_NAME": "other"}, "other"),
        ("", {}, ""),
    ],
)
def test_train_name(tmp_path: Path, lock: str, environment: dict[str, str], name: str) -> None:
    """Every part is about MODEL_NAME, or the model in the lock; the commands choose without both."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/train").symlink_to(ROOT / "scripts/train")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    if lock:
        (tmp_path / "model.lock").write_text(lock)
    programs = {"scripts/venv": "", "scripts/notify": "", ".venv/bin/python": 'echo "${MODEL_NAME-}" >>names'}
    for program, text in programs.items():
        (tmp_path / program).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / program).chmod(0o755)
    subprocess.run([tmp_path / "scripts/train"], env={"PATH": os.environ["PATH"], **environment}, check=True)
    assert (tmp_path / "names").read_text().splitlines() == [name] * 4


def test_train_says_why(tmp_path: Path) -> None:
    """The gate's verdict is the reason of the published version in the history."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/train").symlink_to(ROOT / "scripts/train")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    python = 'case $* in *gate*) printf "table\nbetter than wine/2\n" ;; *) printf "%s\n" "$@" >>ran ;; esac'
    programs = {"scripts/venv": "", "scripts/notify": "", ".venv/bin/python": python}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    for part in ("gate", "publish"):
        subprocess.run(
            [tmp_path / "scripts/train", "--only", part], env={"PATH": os.environ["PATH"]}, check=True
        )
    ran = (tmp_path / "ran").read_text().splitlines()
    assert ran == ["-m", "model_loader", "publish", "build/model", "--reason", "better than wine/2"]


def test_traced_key(tmp_path: Path) -> None:
    """Not even `bash -x` prints the key that signs models; the program gets it in a file."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/train").symlink_to(ROOT / "scripts/train")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    programs = {"scripts/venv": "", "scripts/notify": "", ".venv/bin/python": 'cp "${@: -1}" signed_with'}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-x", tmp_path / "scripts/train", "--only", "publish"],
        env={"PATH": os.environ["PATH"], "MODEL_SIGN_KEY": "-----BEGIN\nplanted\n"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "signed_with").read_text().strip() == "-----BEGIN\nplanted"
    assert "--sign-key" in done.stderr
    assert "planted" not in done.stderr + done.stdout


# end: training
