"""The blocks of docs/own-model.md, run section by section in a fresh clone."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import copy_work_tree
from tests.e2e.test_clone import Service
from tests.frameworks import framework

PAGE = (Path(__file__).parents[2] / "docs/own-model.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^```(python)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which nothing has been built."""
    clone = copy_work_tree(tmp_path_factory.mktemp("clone") / "demo")
    (clone / "build").mkdir()
    return clone


@pytest.fixture
def services() -> Iterator[list[Service]]:
    """The services that a section starts."""
    services: list[Service] = []
    yield services
    for service in services:
        assert service.stop() == 0


def run_commands(block: str, clone: Path, services: list[Service]) -> None:
    """Run the lines of a block in a shell; one with `./scripts/serve` starts a service on a free port."""
    for line in block.splitlines():
        if name := re.fullmatch(r"MODEL_NAME=(\S+) \./scripts/serve", line):
            services.append(Service(clone, MODEL_NAME=name[1], DRAIN_DELAY_S="0", MODEL_PUBLISHER="tester"))
        else:
            path = f"{clone / '.venv/bin'}:{os.environ['PATH']}"
            command = subprocess.run(
                ["bash", "-c", line],
                cwd=clone,
                env=os.environ | {"PATH": path, "MODEL_PUBLISHER": "tester"},
                capture_output=True,
                text=True,
            )
            assert command.returncode == 0, f"{line}\n{command.stdout}{command.stderr}"


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of torch about itself
@pytest.mark.parametrize("section", SECTIONS)
def test_section(section: str, clone: Path, services: list[Service], monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a section run one after another, as they stand, and the answers are the framework's."""
    blocks = BLOCK.findall(SECTIONS[section])
    assert blocks
    for name in ("pandas", "torch", "xgboost", "lightgbm"):
        if any(f"import {name}" in code or f"from {name}" in code for _, code in blocks):
            framework(name)
    monkeypatch.chdir(clone)
    variables: dict[str, Any] = {"__name__": "own_model"}
    for language, code in blocks:
        if not language:
            run_commands(code, clone, services)
            continue
        if services:
            port = re.search(r"localhost:(\d+)", services[-1].curl())
            assert port
            code = code.replace("localhost:8080", f"localhost:{port[1]}")
        exec(compile(code, f"own-model.md: {section}", "exec"), variables)
