"""The monitor's image: its content, and its commands in a hardened container."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.images import HARDENED, PLANTED_SECRET, docker, run
from tests.monitor.spool_writer import prediction, write_segment

pytestmark = pytest.mark.usefixtures("base_image")


@pytest.fixture(scope="module")
def monitor(clone: Path, base_image: None) -> Iterator[str]:
    """The tag of an image that is built with a secret beside the code."""
    name = f"demo-monitor-{uuid4().hex[:8]}:test"
    (clone / "monitor/keys.pem").write_text(PLANTED_SECRET)
    done = run("scripts/build_monitor", "--tag", name, cwd=clone)
    (clone / "monitor/keys.pem").unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"built {name}: image sha256:" in done.stdout
    yield name
    docker("rmi", "--force", name)


def test_commands(monitor: str, tmp_path: Path) -> None:
    """A spool is shipped, compacted and queried without root, network and a writable file system."""
    spool, store = tmp_path / "spool", tmp_path / "store"
    path = write_segment(spool, "prediction", [prediction("a"), prediction("b")])
    store.mkdir()
    for each in (tmp_path, *tmp_path.rglob("*")):
        each.chmod(0o777)
    variables = ("CAPTURE_DIR=/data/spool", "CAPTURE_STORE=file:/data/store")
    options = [word for each in variables for word in ("--env", each)]

    def command(*args: str) -> str:
        return docker("run", "--rm", *HARDENED, "--volume", f"{tmp_path}:/data", *options, monitor, *args)

    assert "shipped 2 rows of 1 segments" in command("ship", "--once")
    assert not path.exists()
    assert "wine prediction" in command("compact", "--remove")
    assert command("query", "--csv", "SELECT count(*) AS rows FROM predictions").split() == ["rows", "2"]


def test_unreadable_spool(monitor: str, tmp_path: Path) -> None:
    """A spool that belongs to another user is an error, and not an empty one."""
    write_segment(tmp_path, "prediction", [prediction("a")])
    tmp_path.chmod(0o700)
    volume = ("--volume", f"{tmp_path}:/data/spool", "--env", "CAPTURE_DIR=/data/spool")
    done = run("docker", "run", "--rm", *HARDENED, *volume, monitor, "ship", "--once")
    assert done.returncode == 1
    assert "spool /data/spool: Permission denied" in done.stderr


def test_content(monitor: str) -> None:
    """The image has the monitor and what it needs of the loader; no service, no model, no pip, no secrets."""
    script = "ls /opt/service; find / -xdev -path '*/site-packages/pip*' -o -name keys.pem; id -u"
    found = docker("run", "--rm", *HARDENED, "--entrypoint", "sh", monitor, "-c", script).split()
    assert found == ["model_loader", "monitor", "packages", "service.toml", "10001"]
