"""A copy of the service with an example: published, pulled, optimized, and served by gunicorn."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.app.conftest import ROOT, Server

PARTS = ("app", "model_loader", "gunicorn.conf.py", "service.toml")
Deploy = Callable[..., Server]


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploy]:
    """A function that copies the service, adds a package and optionally a transform, and starts it."""
    servers: list[Server] = []

    def start(draft: Path, transform: Path | None = None) -> Server:
        clone = tmp_path_factory.mktemp("clone")
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / part, clone)
        if transform:
            shutil.copy(transform, clone / "app/transform.py")
        environment = os.environ | {
            "MODEL_STORE": "file:store",
            "MODEL_NAME": draft.name,
            "MODEL_PUBLISHER": "tester",
            "HOST": "127.0.0.1",
            "PORT": "0",
            "WEB_CONCURRENCY": "1",
            "DRAIN_DELAY_S": "0",
            "TMPDIR": str(clone),
            "PYTHONUNBUFFERED": "1",
        }
        for command in (["publish", str(draft), "--name", draft.name], ["pull"], ["optimize"]):
            subprocess.run(
                [sys.executable, "-m", "model_loader", *command], cwd=clone, env=environment, check=True
            )
        log = clone / "server.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn"],
                cwd=clone,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        servers.append(Server(process, log))
        return servers[-1].wait_until_ready()

    yield start
    for server in servers:
        if server.process.poll() is None:
            assert server.stop() == 0
