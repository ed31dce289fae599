"""The image: its content, its labels, and its behavior in a hardened container."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.conftest import ROOT
from tests.e2e.conftest import missing
from tests.e2e.images import HARDENED, PLANTED_SECRET, build, docker, run

pytestmark = pytest.mark.usefixtures("base_image")

OPERATIONS = (ROOT / "docs/operations.md").read_text().partition("\n## Size of the image\n")[2]


@pytest.fixture
def address(tag: str) -> Iterator[str]:
    """The URL of a hardened container."""
    container = docker("run", "--detach", *HARDENED, "--publish", "127.0.0.1::8080", tag)
    yield f"http://{docker('port', container, '8080/tcp').splitlines()[0]}"
    docker("rm", "--force", container)


def test_labels(clone: Path, tag: str) -> None:
    """The image's labels contain the commit and the model."""
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", tag))
    lock = json.loads((clone / "model.lock").read_text())
    assert labels["scoring.model.name"] == lock["name"]
    assert labels["scoring.model.version"] == str(lock["version"])
    assert labels["scoring.model.digest"] == lock["digest"]
    assert (
        labels["org.opencontainers.image.revision"]
        == run("git", "rev-parse", "HEAD", cwd=clone).stdout.strip()
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels["org.opencontainers.image.created"])
    assert "org.opencontainers.image.source" in labels
    assert "org.opencontainers.image.version" in labels


def test_labels_of_work_in_progress(clone: Path, tmp_path: Path, tag: str) -> None:
    """An image of uncommitted files is labeled dirty, and no label has credentials of the remote."""
    copy = tmp_path / "demo"
    shutil.copytree(clone, copy, symlinks=True)
    (copy / "app/extra.py").touch()
    run("git", "remote", "add", "origin", "https://me:s3cret@w0rd@git.example.com/x.git?token=abc", cwd=copy)
    name = tag.replace(":good", ":dirty")
    assert build(copy, name).returncode == 0
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", name))
    assert labels["org.opencontainers.image.version"].endswith("-dirty")
    assert labels["org.opencontainers.image.source"] == "https://git.example.com/x.git"


def test_self_test_without_network(tag: str) -> None:
    """The optimized model passes its self-test without a writable root, capabilities or network."""
    printed = docker("run", "--rm", *HARDENED, "--network", "none", tag, "python", "-m", "app.commands.check")
    assert re.fullmatch(r"wine/2@sha256:[0-9a-f]{64} passes its 8 samples, optimized", printed)


def test_content(tag: str) -> None:
    """The image has an unprivileged user, no compiler, pip, tests, caches or other files."""
    printed = docker(
        "run", "--rm", *HARDENED, tag, "sh", "-c", "id -u; python -m pip 2>&1; which gcc cc pip; true"
    )
    assert printed.splitlines() == ["10001", "/usr/local/bin/python: No module named pip"]
    find = "find / -xdev -type f \\( -path '*/tests/*' -o -path '*/.cache/*' -o -path '*/pip/*' \\)"
    assert docker("run", "--rm", "--user", "0", tag, "sh", "-c", find) == ""
    others = docker("run", "--rm", tag, "find", "/opt/service/app", "-type", "f", "!", "-name", "*.py*")
    static = ROOT / "app/routes/static"
    expected = {path.relative_to(ROOT / "app") for path in static.rglob("*") if path.is_file()}
    assert {Path(path).relative_to("/opt/service/app") for path in others.split()} == expected


def megabytes(tag: str, *paths: str) -> float:
    """Return the size of files and directories in an image."""
    sizes = docker("run", "--rm", tag, "du", "--bytes", "--summarize", *paths).splitlines()
    return sum(int(line.split()[0]) for line in sizes) / 1e6


def test_size(tag: str) -> None:
    """The image and its largest packages are not larger than docs/operations.md says."""
    total = re.search(r"The image adds at most (\d+) MB", OPERATIONS)
    assert total
    assert megabytes(tag, "/opt") <= int(total[1])
    rows = re.findall(r"^\| (\d+) \| ([^:]+):", OPERATIONS, re.MULTILINE)
    assert len(rows) >= 5
    for size, names in rows:
        paths = (f"/opt/service/packages/{name}" for name in re.findall("`(.+?)`", names))
        assert megabytes(tag, *paths) <= int(size) + 1, names


def test_no_secret(tag: str, tmp_path: Path) -> None:
    """No secret from the clone's files or the environment is in a layer, the history or the configuration."""
    docker("save", "--output", str(tmp_path / "image.tar"), tag)
    found = run("grep", "--binary-files=text", "--count", PLANTED_SECRET, str(tmp_path / "image.tar"))
    assert found.stdout.strip() == "0"
    assert PLANTED_SECRET not in docker("history", "--no-trunc", tag)
    assert PLANTED_SECRET not in docker("inspect", tag)


def test_smoke(clone: Path, address: str, tag: str) -> None:
    """Two hardened containers pass the smoke test as replicas, become healthy and stop cleanly."""
    other = docker("run", "--detach", *HARDENED, "--publish", "127.0.0.1::8080", tag)
    try:
        urls = [address, f"http://{docker('port', other, '8080/tcp').splitlines()[0]}"]
        done = run(str(clone / "scripts/smoke"), "--wait", "30", *urls)
        assert (done.returncode, "samples passed" in done.stdout) == (0, True), done.stderr
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
    """An image with one changed byte in the model does not start."""
    change = "f=/opt/service/model/model.onnx; printf X | dd of=$f bs=1 seek=100 conv=notrunc"
    (tmp_path / "Dockerfile").write_text(f"FROM {tag}\nUSER 0\nRUN {change}\nUSER 10001\n")
    corrupted = tag.replace(":good", ":corrupted")
    done = run("docker", "build", "--quiet", "--tag", corrupted, str(tmp_path), DOCKER_BUILDKIT="0")
    assert done.returncode == 0, done.stderr
    done = run("docker", "run", "--rm", *HARDENED, corrupted)
    assert done.returncode == 1
    assert done.stdout.count("model.onnx is not what was published") == 1


def test_reproducible(clone: Path, tag: str) -> None:
    """A second build without cache, at another time and with other file times, has the same layers."""
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
    """With a verification key, a signed model is built and reported as signed; an unsigned one is refused."""
    copy = tmp_path / "demo"
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
        with urllib.request.urlopen(f"{url}/model") as response:
            assert json.loads(response.read())["signed"] is True
    finally:
        docker("rm", "--force", container)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of Debian's docker-registry on loopback."""
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
    """The pushed image is the verified one: pulling the printed digest returns the same image."""
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
    """The bill of materials lists every installed package, and the model with its files' hashes."""
    bill = json.loads((clone / "build/sbom.cdx.json").read_text())
    names = {component["name"].lower().replace("_", "-") for component in bill["components"]}
    files = [clone / f"requirements{suffix}.txt" for suffix in ("", "-tracing", "-own")]
    requirements = "".join(file.read_text() for file in files if file.exists())
    pinned = set(re.findall(r"^([a-z0-9-]+)(?:\[.+\])?==", requirements, re.MULTILINE))
    assert pinned <= names
    assert names - pinned == {"wine"}
    (model,) = [each for each in bill["components"] if each["type"] == "machine-learning-model"]
    manifest = json.loads((clone / "model_store/wine/2/manifest.json").read_text())
    assert {part["name"]: part["hashes"][0]["content"] for part in model["components"]} == {
        path: entry["sha256"] for path, entry in manifest["files"].items()
    }
