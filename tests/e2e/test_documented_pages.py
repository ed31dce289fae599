"""The commands of the pages run as they stand, in order, each page in a clone of its own.

A line that needs something outside of this machine is left out:
`tests/test_documented_commands.py` parses it.
"""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_wine

from model_loader.package import read_package
from tests.e2e.conftest import ROOT, copy_work_tree
from tests.e2e.test_clone import Service
from tests.monitor.spool_writer import feedback, prediction, write_segment  # part: monitor

TIMEOUT_S = 120
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A block of commands has one of these; others are drawings, JSON or what a command prints.
COMMANDS = re.compile(
    r"^(\w+=\S* )*(\./scripts/|python |pip |openssl |model_signing |curl |cp |git |\w+=\$)", re.MULTILINE
)
# A line that needs another machine, or something of the reader's.
OUTSIDE = re.compile(
    r"https://|<[^>]*>|\b(az|docker|helm|kubectl|ACCOUNT|NAMESPACE|REGISTRY)\b|^git (clone|push|remote)"
)
SERVE = re.compile(r"(?P<variables>(?:\w+=\S+ )*)\./scripts/serve(?P<arguments>[^#]*)(?:#.*)?")
PREDICTION_ID = "<x-prediction-id>"
# Rows that are simulated: each wine of the sample differs by this share of the standard deviation.
NOISE = 0.15
ROWS = 500


class Page:
    """The commands of a page, in a clone, and the service that they have started."""

    def __init__(self, clone: Path) -> None:
        """
        Args:
            clone: the working directory of all commands.
        """
        self.clone = clone
        self.service: Service | None = None
        self.output = ""
        self.ran = 0
        variables = ("MODEL_STORE", "MODEL_NAME", "MODEL_VERIFY_KEY", "CAPTURE_DIR", "CAPTURE_STORE")
        self._environ = {name: value for name, value in os.environ.items() if name not in variables}
        self._environ |= {
            "PATH": f"{clone / '.venv/bin'}:{os.environ['PATH']}",
            "MODEL_PUBLISHER": "tester",
            # The environment is the tests': `pip install` only checks that it has everything.
            "VENV_AS_IT_IS": "1",
            "PIP_DRY_RUN": "1",
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def run(self, text: str) -> None:
        """Run all blocks of commands in a text."""
        blocks = [block for language, block in BLOCK.findall(text) if language in ("", "sh")]
        for block in filter(COMMANDS.search, blocks):
            lines: list[str] = []
            for line in block.replace("\\\n", "").splitlines():
                if serve := SERVE.fullmatch(line):
                    self._shell(lines)
                    lines = []
                    self._serve(**serve.groupdict())
                elif PREDICTION_ID in line:
                    lines.append(line.replace(PREDICTION_ID, self._prediction_id()))
                elif not OUTSIDE.search(line):
                    lines.append(line)
            self._shell(lines)

    def stop(self) -> None:
        """Stop the service, if it runs."""
        if self.service and self.service.process.poll() is None:
            assert self.service.stop() == 0, self.service.log.read_text()
        self.service = None

    def _serve(self, variables: str, arguments: str) -> None:
        """Start the service in the background, in place of the one before, and wait until it is ready."""
        self.stop()
        environ = dict(word.split("=", 1) for word in shlex.split(variables))
        environ |= {"DRAIN_DELAY_S": "0", "WEB_CONCURRENCY": "1", "MODEL_PUBLISHER": "tester"}
        self.service = Service(self.clone, *shlex.split(arguments), cwd=self.clone, **environ)
        self.service.curl()

    def _prediction_id(self) -> str:
        """Return the id of an answer to the request that the service has printed."""
        assert self.service
        response = self._bash(f"{self.service.curl()} -i")
        (found,) = re.findall(r"^x-prediction-id: (\w+)", response, re.MULTILINE)
        return str(found)

    def _shell(self, lines: list[str]) -> None:
        """Run lines in one shell, which ends with the first that fails."""
        script = "\n".join(lines)
        if self.service and "localhost:8080" in script:
            port = re.search(r"localhost:(\d+)", self.service.curl())
            assert port
            script = script.replace("localhost:8080", f"localhost:{port[1]}")
        if script:
            self.output = self._bash(script)
            self.ran += len(lines)
            assert '{"error"' not in self.output, self.output

    def _bash(self, script: str) -> str:
        # `timeout` also ends what the shell has started.
        done = subprocess.run(
            ["timeout", str(TIMEOUT_S), "bash", "-euo", "pipefail", "-c", script],
            cwd=self.clone,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S + 10,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


def sections(page: str, *headings: str) -> str:
    """Return the sections of a page with these headings; without headings, the whole page."""
    text = (ROOT / page).read_text()
    found = dict(re.findall(r"^##+ (.+?)\n(.*?)(?=^##+ |\Z)", text, re.MULTILINE | re.DOTALL))
    return "\n".join(found[heading] for heading in headings) if headings else text


def wine_columns() -> list[str]:
    """Return the names of the sample model's columns."""
    return list(read_package(ROOT / "model_store/wine/2").manifest.features or ())


def write_wines(path: Path, target: str = "") -> None:
    """Write scikit-learn's wines as CSV, with who has grown them in the column `target`."""
    wine = load_wine()
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*wine_columns(), *([target] if target else [])])
        rows.writerows([*x, *([y] if target else [])] for x, y in zip(wine.data, wine.target, strict=True))


def add_model(clone: Path) -> None:
    """Put a model and test data where the pages have those of the reader."""
    (clone / "path/to").mkdir(parents=True)
    for path in ("path/to/any.onnx", "model.onnx"):
        shutil.copy(clone / "model_store/wine/2/model.onnx", clone / path)


def your_own_model(page: Page) -> None:
    """README: a model, and data with a column `label`."""
    add_model(page.clone)
    write_wines(page.clone / "test.csv", "label")


def models(page: Page) -> None:
    """docs/models.md: a model, data with a column `grower`, and what a training with snapshots needs."""
    add_model(page.clone)
    write_wines(page.clone / "test.csv", "grower")
    # part: training
    capture(page.clone, datetime.now(UTC) - timedelta(hours=1))
    page.run("```\n./scripts/monitor snapshot --since 1d --out build/snapshot\n```")
    shutil.copytree(page.clone / "model_store/wine/1", page.clone / "build/champion")
    # end: training


def data(page: Page) -> None:
    """docs/data.md: files of rows, and data from production, of today and of January."""
    (page.clone / "rows").mkdir()
    write_wines(page.clone / "rows.csv")
    write_wines(page.clone / "rows/day.csv")
    # part: monitor
    capture(page.clone, datetime.now(UTC) - timedelta(hours=1))
    capture(page.clone, datetime(2026, 1, 2, tzinfo=UTC))
    shutil.copytree(page.clone / "model_store/wine/2", page.clone / "build/wine")
    # end: monitor


# part: training
def training(page: Page) -> None:
    """training/README.md: data from production, and a draft."""
    capture(page.clone, datetime.now(UTC) - timedelta(hours=1))
    (page.clone / "DIR").mkdir()
    shutil.copy(page.clone / "model_store/wine/2/model.onnx", page.clone / "DIR")


# end: training
def capturing_service(page: Page) -> None:
    """docs/api.md: a service that keeps feedback."""
    page.run("```\nCAPTURE_DIR=captured/spool ./scripts/serve\n```")


def nothing(page: Page) -> None:
    """The page needs nothing."""


# part: monitor
def capture(clone: Path, start: datetime) -> None:
    """Write an hour of labelled rows into the spool, of growers who have swapped their vineyards."""
    wine, random = load_wine(), np.random.default_rng(1)
    chosen = random.integers(0, len(wine.data), ROWS)
    noise = random.standard_normal((ROWS, wine.data.shape[1])) * NOISE * wine.data.std(axis=0)
    values = np.abs(wine.data[chosen] + noise).round(3).tolist()
    predictions, labels = [], []
    for row in range(ROWS):
        time = (start + row * timedelta(hours=1) / ROWS).isoformat(timespec="milliseconds")
        id_, time = f"{start:%Y%m%d}-{row}", time.replace("+00:00", "Z")
        predictions.append(
            prediction(id_, time=time, inputs=dict(zip(wine_columns(), values[row], strict=True)))
        )
        labels.append(feedback(id_, int(wine.target[chosen[row]] + 1) % 3, time=time))
    for kind, rows in (("prediction", predictions), ("feedback", labels)):
        write_segment(clone / "captured/spool", kind, rows, start=start)


# end: monitor
# The page, its sections, and what it assumes.
PAGES: dict[str, tuple[Callable[[Page], None], tuple[str, ...]]] = {
    "README.md": (your_own_model, ("Your own model",)),
    "docs/api.md": (capturing_service, ()),
    "docs/azure.md": (nothing, ("Images are verified where they are deployed",)),  # part: azure
    "docs/data.md": (data, ()),
    "docs/models.md": (models, ()),
    "docs/operations.md": (nothing, ("Names",)),
    "examples/README.md": (nothing, ()),  # part: examples
    "training/README.md": (training, ()),  # part: training
}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A clone in which nothing has been built; its service is stopped at the end."""
    page = Page(copy_work_tree(tmp_path / "demo"))
    try:
        yield page
    finally:
        page.stop()


@pytest.mark.parametrize("name", PAGES)
def test_page(name: str, page: Page) -> None:
    """Every command succeeds."""
    prepare, headings = PAGES[name]
    prepare(page)
    page.ran = 0
    page.run(sections(name, *headings))
    assert page.ran > 0


def test_api_key(page: Page) -> None:
    """The key of docs/settings.md is accepted, and no other one."""
    block = sections("docs/settings.md", "API keys")
    page.run(block.replace(">>keys\n", '>>keys\nprintf %s "$key"\n'))
    key = page.output
    page.run("```\nAPI_KEYS_FILE=keys ./scripts/serve\n```")
    assert page.service
    command = page.service.curl()
    for given, member in ((key, "predictions"), (key[:-1], "error")):
        answer = subprocess.run(
            ["bash", "-c", f"{command} -H 'x-api-key: {given}'"], capture_output=True, text=True, timeout=30
        )
        assert member in json.loads(answer.stdout)
