"""The image: what is in it, what it proves, and what never becomes one."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conftest import write_package
from tests.e2e.conftest import missing

pytestmark = pytest.mark.usefixtures("engine")

HARDENED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
CANARY = "canary-5f1c6f0e"
MAX_BYTES_BEYOND_BASE = 175_000_000


def run(*command: str, cwd: Path | None = None, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end, whatever that is."""
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environ, capture_output=True, text=True, timeout=600
    )


def docker(*args: str) -> str:
    """What a docker command prints; it must succeed."""
    done = run("docker", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def build(clone: Path, tag: str, *args: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """`scripts/build`."""
    return run(str(clone / "scripts/build"), "--tag", tag, *args, cwd=clone, **environ)


@pytest.fixture(scope="module")
def tag(clone: Path) -> Iterator[str]:
    """The tag of an image built with secrets lying around; all images of the tests go afterwards."""
    name = f"scorebox-{uuid4().hex[:8]}"
    (clone / ".env").write_text(f"SECRET={CANARY}\n")
    (clone / "app/keys.pem").write_text(CANARY)
    (clone / "app/routes/static/keys.pem").write_text(CANARY)
    secrets = {
        "AZURE_CLIENT_SECRET": CANARY,
        "AZURE_STORAGE_KEY": CANARY,
        "API_KEY": CANARY,
        "PIP_INDEX_PASSWORD": CANARY,
    }
    done = build(clone, f"{name}:good", **secrets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        rf"built {name}:good: image sha256:[0-9a-f]{{64}}, \d+ MB, model wine/2@sha256:", done.stdout
    )
    yield f"{name}:good"
    images = docker("images", "--quiet", "--filter", f"reference={name}*").split()
    docker("rmi", "--force", *dict.fromkeys(images))


@pytest.fixture
def address(tag: str) -> Iterator[str]:
    """The URL of a hardened container, ready."""
    container = docker("run", "--detach", *HARDENED, "--publish", "127.0.0.1::8080", tag)
    yield f"http://{docker('port', container, '8080/tcp').splitlines()[0]}"
    docker("rm", "--force", container)


def test_labels(clone: Path, tag: str) -> None:
    """The image says which commit and which model it is of."""
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", tag))
    lock = json.loads((clone / "model.lock").read_text())
    assert labels["scorebox.model.name"] == lock["name"]
    assert labels["scorebox.model.version"] == str(lock["version"])
    assert labels["scorebox.model.digest"] == lock["digest"]
    assert (
        labels["org.opencontainers.image.revision"]
        == run("git", "rev-parse", "HEAD", cwd=clone).stdout.strip()
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels["org.opencontainers.image.created"])
    assert "org.opencontainers.image.source" in labels
    assert "org.opencontainers.image.version" in labels


def test_labels_of_work_in_progress(clone: Path, tmp_path: Path, tag: str) -> None:
    """An image of files that no commit has says so, and a remote's credentials are in no label."""
    copy = tmp_path / "scorebox"
    shutil.copytree(clone, copy, symlinks=True)
    (copy / "app/extra.py").touch()
    run("git", "remote", "add", "origin", "https://me:s3cret@w0rd@git.example.com/x.git?token=abc", cwd=copy)
    name = tag.replace(":good", ":dirty")
    assert build(copy, name).returncode == 0
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", name))
    assert labels["org.opencontainers.image.version"].endswith("-dirty")
    assert labels["org.opencontainers.image.source"] == "https://git.example.com/x.git"


def test_self_test_without_network(tag: str) -> None:
    """The model, baked, answers its samples with nothing writable, no capability and no network."""
    printed = docker("run", "--rm", *HARDENED, "--network", "none", tag, "python", "-m", "app.commands.check")
    assert re.fullmatch(r"wine/2@sha256:[0-9a-f]{64} answers its 8 samples, optimized", printed)


def test_content(tag: str) -> None:
    """An unprivileged user, no compiler, no pip, no tests, no caches, and no more than what is needed."""
    printed = docker(
        "run", "--rm", *HARDENED, tag, "sh", "-c", "id -u; python -m pip 2>&1; which gcc cc pip; true"
    )
    assert printed.splitlines() == ["10001", "/usr/local/bin/python: No module named pip"]
    find = "find / -xdev -type f \\( -path '*/tests/*' -o -path '*/.cache/*' -o -path '*/pip/*' \\)"
    assert docker("run", "--rm", "--user", "0", tag, "sh", "-c", find) == ""
    beside = docker("run", "--rm", tag, "find", "/opt/scorebox/app", "-type", "f", "!", "-name", "*.py*")
    assert {Path(path).name for path in beside.split()} == {
        "docs.html",
        "home.html",
        "docs.js",
        "rapidoc-min.js",
        "rapidoc-LICENSE.txt",
    }
    beyond = int(docker("run", "--rm", tag, "du", "--bytes", "--summarize", "/opt").split()[0])
    assert beyond <= MAX_BYTES_BEYOND_BASE


def test_no_secret(tag: str, tmp_path: Path) -> None:
    """No credential that lay around or was in the environment is in a layer, the history or the settings."""
    docker("save", "--output", str(tmp_path / "image.tar"), tag)
    found = run("grep", "--binary-files=text", "--count", CANARY, str(tmp_path / "image.tar"))
    assert found.stdout.strip() == "0"
    assert CANARY not in docker("history", "--no-trunc", tag)
    assert CANARY not in docker("inspect", tag)


def test_smoke(clone: Path, address: str, tag: str) -> None:
    """A hardened container passes the smoke test, also as one of two replicas, and is found healthy."""
    other = docker("run", "--detach", *HARDENED, "--publish", "127.0.0.1::8080", tag)
    try:
        urls = [address, f"http://{docker('port', other, '8080/tcp').splitlines()[0]}"]
        done = run(str(clone / "scripts/smoke"), "--wait", "30", *urls)
        assert (done.returncode, "samples right" in done.stdout) == (0, True), done.stderr
        for _ in range(60):
            health = docker("inspect", "--format", "{{.State.Health.Status}}", other)
            if health != "starting":
                break
            time.sleep(0.5)
        assert health == "healthy"
        docker("stop", "--time", "30", other)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", other) == "0"
        assert '"level":"error"' not in docker("logs", other)
    finally:
        docker("rm", "--force", other)


def test_corrupted(tag: str, tmp_path: Path) -> None:
    """An image in which one byte of the model was changed refuses to start."""
    change = "f=/opt/scorebox/model/model.onnx; printf X | dd of=$f bs=1 seek=100 conv=notrunc"
    (tmp_path / "Dockerfile").write_text(f"FROM {tag}\nUSER 0\nRUN {change}\nUSER 10001\n")
    corrupted = tag.replace(":good", ":corrupted")
    done = run("docker", "build", "--quiet", "--tag", corrupted, str(tmp_path), DOCKER_BUILDKIT="0")
    assert done.returncode == 0, done.stderr
    done = run("docker", "run", "--rm", *HARDENED, corrupted)
    assert done.returncode == 1
    assert done.stdout.count("model.onnx is not what was published") == 1


def test_reproducible(clone: Path, tag: str) -> None:
    """Built again from nothing, at another time and with other file times, every layer is the same."""
    for path in (clone / "app").rglob("*.py"):
        path.touch()
    (clone / "app/left_behind/__pycache__").mkdir(parents=True)
    done = build(clone, tag.replace(":good", ":again"), "--", "--no-cache")
    assert done.returncode == 0, done.stderr
    layers = [
        docker("inspect", "--format", "{{json .RootFS.Layers}}", name)
        for name in (tag, tag.replace(":good", ":again"))
    ]
    assert layers[0] == layers[1]


def test_signed(clone: Path, tmp_path: Path, tag: str) -> None:
    """A signed model makes an image that says so; one that is not signed by the key makes none."""
    copy = tmp_path / "scorebox"
    shutil.copytree(clone, copy, symlinks=True)
    key, public = tmp_path / "model.key", tmp_path / "model.pub"
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    run("openssl", "ec", "-in", str(key), "-pubout", "-out", str(public))
    signed = tag.replace(":good", ":signed")
    assert build(copy, signed, MODEL_VERIFY_KEY=str(public)).returncode == 1
    loader = [str(copy / ".venv/bin/python"), "-m", "model_loader"]
    published = run(*loader, "publish", "model_store/wine/2", "--sign-key", str(key), cwd=copy)
    assert published.returncode == 0, published.stderr
    done = build(copy, signed, MODEL_VERIFY_KEY=str(public))
    assert done.returncode == 0, done.stdout + done.stderr
    container = docker("run", "--detach", *HARDENED, "--publish", "127.0.0.1::8080", signed)
    try:
        url = f"http://{docker('port', container, '8080/tcp').splitlines()[0]}"
        assert run(str(copy / "scripts/smoke"), url, "--wait", "30").returncode == 0
        with urllib.request.urlopen(f"{url}/model") as reply:
            assert json.loads(reply.read())["signed"] is True
    finally:
        docker("rm", "--force", container)


def break_pull(clone: Path) -> dict[str, str]:
    """There is no such store."""
    return {"MODEL_STORE": "file:nowhere"}


def break_gate(clone: Path) -> dict[str, str]:
    """A floor that the model does not reach."""
    (clone / "gate.toml").write_text("[accuracy]\nmin = 0.999\n")
    return {}


def break_gate_of_lock(clone: Path) -> dict[str, str]:
    """The locked store has a bad model under the number that the default store has a good one under."""
    manifest = json.loads((clone / "model_store/wine/2/manifest.json").read_text())
    for version, accuracy in ((1, 0.99), (2, 0.01)):
        draft = {"name": "wine", "metrics": {"accuracy": accuracy}, "features": manifest["features"]}
        package = clone / f"draft{version}"
        package.mkdir()
        shutil.copy(clone / "model_store/wine/2/model.onnx", package)
        (package / "manifest.json").write_text(json.dumps(draft))
        loader = [str(clone / ".venv/bin/python"), "-m", "model_loader"]
        assert run(*loader, "publish", str(package), "--store", "file:other", cwd=clone).returncode == 0
    assert run(*loader, "pull", "--store", "file:other", cwd=clone).returncode == 0
    (clone / "gate.toml").write_text("[accuracy]\nmin = 0.9\n")
    return {}


def break_self_test(clone: Path) -> dict[str, str]:
    """A model that does not answer its sample."""
    (clone / "gate.toml").unlink()
    package = json.loads((clone / "model_store/wine/2/manifest.json").read_text())
    sample = json.loads((clone / "model_store/wine/2/samples.json").read_text())[0]
    model = (clone / "model_store/wine/2/model.onnx").read_bytes()
    sample["outputs"]["label"] = [1 - sample["outputs"]["label"][0]]
    fields = {name: package[name] for name in ("inputs", "outputs")}
    write_package(clone / "other_store/wine/1", model, samples=[sample], name="wine", version=1, **fields)
    return {"MODEL_STORE": "file:other_store"}


def break_smoke(clone: Path) -> dict[str, str]:
    """A service that does not say which model it serves."""
    path = clone / "app/__init__.py"
    path.write_text(path.read_text().replace("    app.register_blueprint(model.blueprint(service))\n", ""))
    return {}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_pull, "file:nowhere"),
        (break_gate, "does not pass gate.toml"),
        (break_gate_of_lock, "does not pass gate.toml"),
        (break_self_test, "sample 0: output 'label'"),
        (break_smoke, "GET /model: expected status 200, got 404"),
    ],
    ids=["pull", "gate", "gate_of_lock", "self_test", "smoke"],
)
def test_nothing_is_tagged(clone: Path, tmp_path: Path, tag: str, damage: object, words: str) -> None:
    """A model or an image that fails a check leaves no tag behind, and the message says which."""
    assert callable(damage)
    copy = tmp_path / "scorebox"
    shutil.copytree(clone, copy, symlinks=True)
    bad = tag.replace(":good", ":bad")
    locked = ["--locked"] if damage is break_gate_of_lock else []
    done = build(copy, bad, *locked, **damage(copy))
    assert done.returncode == 1
    assert words in done.stdout + done.stderr
    assert run("docker", "image", "inspect", bad).returncode == 1


@pytest.mark.parametrize(
    "args",
    [
        ["--push", ""],
        ["--tag"],
        ["--version", "1", "--locked"],
        ["--verion", "1"],
        ["--", "--tag", "x"],
        ["--", "-tx"],
    ],
    ids=" ".join,
)
def test_usage(clone: Path, args: list[str]) -> None:
    """Arguments that are not understood, or would tag what is not proven, end it before anything is done."""
    done = run(str(clone / "scripts/build"), *args, cwd=clone)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: build ")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["python", "-c", "import time; time.sleep(1); raise SystemExit(3)"], "does not start"),
        (["nonexistent"], "does not start"),
        (
            [
                "python",
                "-c",
                "import socket as s; l = s.create_server(('', 8080)); __import__('time').sleep(99)",
            ],
            "is not ready after 30 s",
        ),
    ],
    ids=["exits", "missing", "hangs"],
)
def test_smoke_of_bad_images(clone: Path, tag: str, tmp_path: Path, command: list[str], words: str) -> None:
    """An image that does not come up is given up in time, with its log, and no container stays."""
    (tmp_path / "Dockerfile").write_text(f"FROM {tag}\nCMD {json.dumps(command)}\n")
    bad = tag.replace(":good", ":silent")
    assert run("docker", "build", "--tag", bad, str(tmp_path), DOCKER_BUILDKIT="0").returncode == 0
    done = run(str(clone / "scripts/smoke"), bad)
    assert done.returncode == 1
    assert words in done.stderr
    assert docker("ps", "--all", "--quiet", "--filter", f"ancestor={bad}") == ""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry on loopback."""
    program = shutil.which("docker-registry")
    if program is None:
        missing("docker-registry is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
        f"http: {{addr: '{address}'}}\nlog: {{level: error}}\n"
    )
    with subprocess.Popen(
        [program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        yield address
        server.terminate()


def test_push(clone: Path, tag: str, registry: str) -> None:
    """What is pushed is what was proven: the digest that is printed gives the same image back."""
    done = build(clone, tag, "--push", registry)
    assert done.returncode == 0, done.stdout + done.stderr
    reference = done.stdout.splitlines()[-1]
    assert re.fullmatch(rf"{registry}/{tag.partition(':')[0]}@sha256:[0-9a-f]{{64}}", reference)
    image = docker("inspect", "--format", "{{.Id}}", tag)
    docker("rmi", f"{registry}/{tag}")
    docker("pull", "--quiet", reference)
    assert docker("inspect", "--format", "{{.Id}}", reference) == image
    docker("rmi", reference)


def test_bill_of_materials(clone: Path, tag: str) -> None:
    """The bill has every package that is installed, and the model with its files' hashes."""
    bill = json.loads((clone / "build/sbom.cdx.json").read_text())
    names = {component["name"].lower().replace("_", "-") for component in bill["components"]}
    requirements = (clone / "requirements.txt").read_text()
    pinned = set(re.findall(r"^([a-z0-9-]+)(?:\[.+\])?==", requirements, re.MULTILINE))
    assert pinned <= names
    assert names - pinned == {"wine"}
    (model,) = [each for each in bill["components"] if each["type"] == "machine-learning-model"]
    manifest = json.loads((clone / "model_store/wine/2/manifest.json").read_text())
    assert {part["name"]: part["hashes"][0]["content"] for part in model["components"]} == {
        path: entry["sha256"] for path, entry in manifest["files"].items()
    }
