"""The README's commands in a fresh clone, with the packages installed here."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import copy_work_tree

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
START_TIMEOUT_S = 60


class Service:
    """A service started by `scripts/serve`."""

    def __init__(self, path: Path, *args: str, cwd: Path | None = None, **environ: str) -> None:
        """
        Args:
            path: of the clone.
            args: arguments of `scripts/serve`.
            cwd: the working directory; default: the one that the clone is in.
            environ: variables of the service.
        """
        self.log = path.parent / "serve.log"
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [path / "scripts/serve", *args],
                cwd=cwd or path.parent,
                env=os.environ | {"PORT": "0", "HOST": "127.0.0.1", "LOG_FORMAT": "text"} | environ,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def curl(self) -> str:
        """Return the curl command that the service prints."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(r"serving .*; try: (.*)", self.log.read_text()):
                return found[1]
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def stop(self) -> int:
        """Stop the service and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which nothing has been built."""
    return copy_work_tree(tmp_path_factory.mktemp("clone") / "demo")


@pytest.fixture
def service(clone: Path) -> Iterator[Service]:
    """A service with the sample model."""
    service = Service(clone)
    yield service
    service.process.kill()
    service.process.wait()


def shell(command: str) -> str:
    """Run a command line and return what it prints."""
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout


def test_clone_to_answer(clone: Path, service: Service) -> None:
    """`./scripts/serve` serves the latest model and locks it; the curl command that it prints works."""
    command = service.curl()
    response = json.loads(shell(command))
    latest = json.loads((clone / "model_store/wine/2/manifest.json").read_text())
    assert response["model_name"] == "wine"
    assert response["model_version"] == "2"
    assert response["predictions"][0].keys() == {spec["name"] for spec in latest["outputs"]}
    lock = json.loads((clone / "model.lock").read_text())
    assert f"serving wine/2@{lock['digest']} on port " in service.log.read_text()
    port = re.search(r"localhost:(\d+)", command)
    assert port
    (example,) = re.findall(r"^curl -s localhost:8080/score .*?'$\n", README + "\n", re.MULTILINE | re.DOTALL)
    assert "predictions" in json.loads(shell(example.replace("8080", port[1])))
    assert service.stop() == 0


def test_any_model(clone: Path, tmp_path: Path) -> None:
    """`./scripts/serve --model FILE` accepts a path relative to the working directory."""
    shutil.copy(clone / "model_store/wine/1/model.onnx", clone.parent / "mine.onnx")
    service = Service(clone, "--model", "mine.onnx")
    response = json.loads(shell(service.curl()))
    assert (response["model_name"], response["model_version"]) == ("mine", "0")
    assert service.stop() == 0


@pytest.mark.parametrize(
    ("args", "environ", "status", "words"),
    [
        (("--model",), {}, 2, "usage: serve [--model PATH]"),
        (("--port", "1"), {}, 2, "usage: serve [--model PATH]"),
        (("--model", "none.onnx"), {}, 1, "no model package in"),
        ((), {"MODEL_STORE": "file:nowhere"}, 1, "file:nowhere"),
        ((), {"MODEL_NAME": "beer"}, 1, "beer"),
        ((), {"PORT": "http"}, 1, "PORT has the value 'http'"),
    ],
)
def test_refused(
    clone: Path, args: tuple[str, ...], environ: dict[str, str], status: int, words: str
) -> None:
    """Invalid arguments, models and settings end `scripts/serve` with one line that says why."""
    service = Service(clone, *args, cwd=clone.parent, **environ)
    assert service.process.wait(timeout=START_TIMEOUT_S) == status
    assert service.log.read_text().count(words) == 1
    assert "Traceback" not in service.log.read_text()
