"""The client code in docs/api.md runs unchanged and gets the sample model's outputs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.conftest import ROOT, StartServer

TEXT = (ROOT / "docs/api.md").read_text().partition("## Clients")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
RUN = {
    "sh": ["sh", "-c"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "--eval"],
}


def test_complete() -> None:
    """There are examples for curl, requests, Triton's client and fetch."""
    code = "".join(block for _, block in BLOCKS)
    assert all(word in code for word in ("curl", "requests.post", "tritonclient", "fetch("))
    assert len(BLOCKS) == 4


@pytest.mark.parametrize(("language", "block"), BLOCKS, ids=[block.split()[1] for _, block in BLOCKS])
def test_client(start_server: StartServer, tmp_path: Path, language: str, block: str) -> None:
    """The example prints the class and the probabilities."""
    command = RUN[language]
    if not shutil.which(command[0]):
        missing = f"{command[0]} is not installed"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    server = start_server(ROOT / "model_store/wine/2", WEB_CONCURRENCY="1").wait_until_ready()
    code = block.replace("localhost:8080", f"127.0.0.1:{server.port}")
    done = subprocess.run([*command, code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.replace("'", '"'))
    outputs = printed.get("outputs", printed)
    assert outputs["label"] == [0]
    assert sum(outputs["probabilities"][0]) == pytest.approx(1, abs=1e-5)
    assert server.stop() == 0
