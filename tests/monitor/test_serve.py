"""The exporter and the report's page."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from monitor.lake import Lake
from tests.monitor.conftest import Monitor
from tests.monitor.simulated import iso, publish, ship_rows
from tests.monitor.test_quality import WINE

CANARY = "canary-value"


@pytest.fixture
def captured(spool: Path, workspace: Path) -> None:
    """A day of predictions of `wine`, with labels and a withheld column."""
    outputs = [{"name": "label", "datatype": "INT64", "shape": ["batch"]}]
    publish(workspace / "models", 2, WINE, outputs=outputs)
    start = datetime.now(UTC) - timedelta(hours=20)
    predictions, labels = [], []
    for index in range(300):
        moment = iso(start + timedelta(minutes=index * 3))
        p = [0.7, 0.2, 0.1] if index % 2 else [0.1, 0.3, 0.6]
        predictions.append(
            {"id": f"id-{index}", "row": 0, "time": moment, "version": 2, "caller": "<script>",
             "inputs": {"alcohol": 12 + index % 3, "customer": CANARY},
             "outputs": {"label": 0 if index % 2 else 2, "probabilities": p}}
        )  # fmt: skip
        value = index % 3
        labels.append({"id": f"id-{index}", "row": 0, "time": moment, "metric": "label", "value": value})
    ship_rows(Lake("file:captured"), spool, "prediction", predictions)
    ship_rows(Lake("file:captured"), spool, "feedback", labels)
    baseline = {"features": {"alcohol": {"edges": [11, 12, 13], "shares": [0.5, 0.5]}}}
    manifest = workspace / "models/wine/2/manifest.json"
    document = json.loads(manifest.read_text())
    document["inputs"] = [{"name": "alcohol", "datatype": "FP32", "shape": ["batch", 1]}]
    manifest.write_text(json.dumps(document))
    (workspace / "models/wine/2/baseline.json").write_text(json.dumps(baseline))


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """Run `serve` on a free port, and yield its URL."""
    command = [sys.executable, "-m", "monitor", "serve", "--port", "0", "--models", "file:models", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        url = re.findall(r"http://[^\s\"]+/", process.stderr.readline())[0]
        try:
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def get(url: str) -> str:
    """Return the body of a response."""
    with urlopen(url, timeout=10) as response:
        return str(response.read().decode())


def wait_for(url: str, text: str) -> str:
    """Return the metrics as soon as they have a text."""
    end = time.monotonic() + 60
    while text not in (body := get(f"{url}metrics")) and time.monotonic() < end:
        time.sleep(0.2)
    return body


def test_serve(captured: None) -> None:
    """Metrics, the report and health are served; SIGTERM ends the process."""
    with served() as url:
        body = wait_for(url, "monitor_up 1.0")
        assert re.search(
            r'^model_quality\{name="wine",version="2",window="1d",metric="accuracy",bound="low"\} 0\.\d+$',
            body,
            re.MULTILINE,
        )
        assert 'model_labels{name="wine",version="2",window="1d",state="labelled"} 300.0\n' in body
        assert "estimated_accuracy" not in body
        assert "of 0" not in body
        assert get(f"{url}healthz") == "ok\n"
        page = get(url)
        assert "wine in production" in page
        with pytest.raises(HTTPError, match="404"):
            get(f"{url}other")
    if promtool := shutil.which("promtool"):
        checked = subprocess.run([promtool, "check", "metrics"], input=body, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_failure(workspace: Path) -> None:
    """Without data the exporter is up, says so, and finds the data when it comes."""
    with served("--interval", "0.2") as url:
        body = wait_for(url, "monitor_duration_seconds")
        assert "monitor_up 0.0" in body
        with pytest.raises(HTTPError, match="503"):
            get(url)


def test_report(captured: None, monitor: Monitor) -> None:
    """The report has every section, no script, nothing of other hosts, and no value of an input."""
    Path("monitor.toml").write_text(
        'windows = ["1d"]\n[slices]\nstrong = "(inputs->>\'alcohol\')::DOUBLE > 13"\n'
    )
    code, out, _ = monitor("report", "--models", "file:models")
    assert (code, out) == (0, "wrote report.html\n")
    page = Path("report.html").read_text()
    for title in (
        "Quality",
        "Over time",
        "Reliability",
        "Slices, worst first",
        "Changed since training",
        "Most wrong",
    ):
        assert f"<h2>{title}</h2>" in page
    assert not re.search(r"<script|src=|https?://|@import|url\(", page)
    assert CANARY not in page
    assert page.count("<svg") >= 3


def test_no_labels(spool: Path, workspace: Path, monitor: Monitor) -> None:
    """Without labels and without a schema, the report says what is missing."""
    rows = [{"id": "a", "row": 0, "time": iso(datetime.now(UTC)), "version": 1, "outputs": {"label": 1}}]
    ship_rows(Lake("file:captured"), spool, "prediction", rows)
    assert monitor("report")[0] == 0
    page = Path("report.html").read_text()
    assert "There are no labels yet" in page
    assert "Nothing says what the labels of version 1 are the truth of" in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("windows = []", "monitor.toml: expected windows to have a duration, such as 7d"),
        ('windows = ["7"]', "monitor.toml: expected a duration such as 12h or 7d, got '7'"),
        ("wrong = 1", "monitor.toml: unknown field 'wrong'"),
        ("min_labels = 0", "monitor.toml: expected min_labels to be 1 or more, got 0"),
        (
            "[business.a]\naggregate = 'x'",
            "monitor.toml: business.a: expected aggregate to be one of rate, sum, mean",
        ),
        (
            "[target]\nmetric = 'a'",
            "monitor.toml: target: expected the output that the feedback is the truth of",
        ),
        ("a = ", "monitor.toml: "),
    ],
)
def test_wrong_config(captured: None, monitor: Monitor, text: str, message: str) -> None:
    """A wrong configuration is refused with the name of the field."""
    Path("monitor.toml").write_text(text)
    code, _, err = monitor("quality", "--models", "file:models")
    assert code == 1
    assert message in err
