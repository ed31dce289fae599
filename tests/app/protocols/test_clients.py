"""The code in docs/clients.md runs unchanged and gets the sample model's outputs.

MLflow's and KServe's clients need other versions of this clone's packages. They run in an environment of
their own, which is installed into the user's cache once.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from model_loader.package import read_package
from tests.app.conftest import ROOT, StartServer

BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs/clients.md").read_text(), re.DOTALL)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scoring/bench"
REQUIREMENTS = Path(__file__).with_name("clients.txt")
RUN = {
    "sh": ["sh", "-c"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "--eval"],
}
ROW = [13.2, 1.78, 2.14, 11.2, 100, 2.65, 2.76, 0.26, 1.28, 4.38, 1.05, 3.4, 1050]


def install(requirements: Path) -> Path:
    """Return the Python of an environment with the requirements, and create it if necessary.

    Raises:
        CalledProcessError: the packages cannot be installed.
    """
    key = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()[:12]
    path = CACHE / "clients" / key
    # Written last, so that an interrupted installation is repeated.
    complete = path / "complete"
    if not complete.exists():
        shutil.rmtree(path, ignore_errors=True)
        uv = [sys.executable, "-m", "uv", "--quiet"]
        python = str(path / "bin/python")
        subprocess.run([*uv, "venv", "--python", sys.executable, str(path)], check=True)
        subprocess.run(
            [*uv, "pip", "install", "--python", python, "--requirements", str(requirements)], check=True
        )
        complete.touch()
    return path / "bin/python"


def command(language: str, block: str) -> list[str]:
    """Return the command that runs a block; skip the test if it is not installed, and fail it in CI."""
    missing = ""
    found = RUN[language]
    if "kserve" in block or "mlflow" in block:
        try:
            found = [str(install(REQUIREMENTS)), "-c"]
        except subprocess.CalledProcessError as exc:
            missing = f"the clients cannot be installed: {exc}"
    elif not shutil.which(found[0]):
        missing = f"{found[0]} is not installed"
    if missing:
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return found


def outputs(printed: Any) -> dict[str, Any]:
    """Return the outputs by name, of any form of a response."""
    found = printed
    if isinstance(printed, dict):
        found = printed.get("outputs", printed.get("predictions", printed))
    if isinstance(found, list):
        found = {name: [row[name] for row in found] for name in found[0]}
    return dict(found)


def test_complete() -> None:
    """There are examples for every client that the page names."""
    code = "".join(block for _, block in BLOCKS)
    for word in (
        "curl",
        "requests.post",
        "to_dict",
        "mlflow",
        'protocol="v1"',
        'protocol="v2"',  # part: v2
        "tritonclient",  # part: v2
    ):
        assert word in code
    assert len(BLOCKS) >= 10


@pytest.mark.parametrize(("language", "block"), BLOCKS)
def test_client(start_server: StartServer, tmp_path: Path, language: str, block: str) -> None:
    """The example prints the class and the probabilities."""
    program = command(language, block)
    features = read_package(ROOT / "model_store/wine/2").manifest.features or ()
    pd.DataFrame([ROW], columns=list(features)).to_csv(tmp_path / "wine.csv", index=False)
    server = start_server(ROOT / "model_store/wine/2", WEB_CONCURRENCY="1").wait_until_ready()
    code = block.replace("localhost:8080", f"127.0.0.1:{server.port}")
    code = code.replace('"localhost", 8080', f'"127.0.0.1", {server.port}')
    done = subprocess.run([*program, code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines
    for line in lines:
        found = outputs(json.loads(line.replace("'", '"')))
        assert found["label"] == [0]
        assert sum(found["probabilities"][0]) == pytest.approx(1, abs=1e-5)
    assert server.stop() == 0
