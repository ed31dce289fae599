"""The history on the report's page: ledger and releases, canaries and alerts, beside the quality."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html import unescape
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from model_loader.registry.ledger import Entry, Ledger
from monitor.errors import MonitorError
from monitor.history import PRODUCTION, STAGING, History, Span, read_events
from monitor.lake import Lake
from monitor.measures import Measure
from monitor.releases import ReleaseLine, read_releases
from monitor.report.charts import over_time
from monitor.report.findings import Day
from tests.e2e.conftest import missing
from tests.monitor.conftest import Monitor
from tests.monitor.simulated import AT, DAY, iso, publish, ship_rows
from tests.monitor.test_quality import WINE

OUTPUTS = [{"name": "label", "datatype": "INT64", "shape": ["batch"]}]
DIGEST = "sha256:" + "0" * 64


def entry(
    days: float, action: str, version: int, stage: str | None = None, reason: str | None = None
) -> Entry:
    """Return an entry of the ledger, some days before the end of the windows."""
    return Entry(iso(AT - timedelta(days=days)), action, version, DIGEST, "ada", stage, reason or None)


def line(days: float, version: int, note: str | None = None) -> ReleaseLine:
    """Return a line of releases.jsonl."""
    moment, image = iso(AT - timedelta(days=days)), f"registry/demo@{DIGEST}"
    return ReleaseLine(1, moment, "c" * 40, image, f"wine/{version}@{DIGEST}", "pipeline", note)


LEDGER = Ledger(
    "wine",
    (
        entry(20, "publish", 1), entry(19.5, "promote", 1, STAGING), entry(19, "promote", 1, PRODUCTION),
        entry(9, "retrain", 1, reason="alert ScoringQuality"),
        entry(8.9, "publish", 2, reason="<b>retrained</b>"),
        entry(8, "promote", 2, PRODUCTION), entry(6, "rollback", 1, PRODUCTION, "errs on white wine"),
        entry(5, "withdraw", 2),
    ),
)  # fmt: skip
RELEASES = [line(19, 1), line(12, 1), line(8, 2), line(6, 1, "rollback: errs on white wine")]


def test_events() -> None:
    """Each event is there once, in order; a release adds its commit to its entry in the ledger."""
    events = read_events(LEDGER, [*RELEASES, ReleaseLine(9, iso(AT), "d" * 40, "x@y", "other/1@z", "me")])
    assert [(each.kind, each.version) for each in events] == [
        ("published", 1), ("in staging", 1), ("in production", 1), ("released", 1), ("retraining asked", 1),
        ("published", 2), ("in production", 2), ("rolled back", 1), ("withdrawn", 2),
    ]  # fmt: skip
    assert [each.kind for each in events if "commit cccccccccccc" in each.note] == [
        "in production", "released", "in production", "rolled back",
    ]  # fmt: skip
    spans = History(events).in_stage(PRODUCTION)
    assert [each.label for each in spans] == ["version 1", "version 2", "version 1"]
    assert spans[0].end == spans[1].start
    assert spans[2] == Span("version 1", AT - 6 * DAY)


@pytest.mark.parametrize(
    ("field", "value"), [("time", "yesterday"), ("model", "wine/x@y"), ("model", "wine")]
)
def test_bad_release(tmp_path: Path, field: str, value: str) -> None:
    """A line with a time or a model that is none is refused by its number, not with a traceback."""
    path = tmp_path / "releases.jsonl"
    path.write_text(json.dumps(vars(line(1, 1)) | {field: value}) + "\n")
    with pytest.raises(MonitorError, match=r"releases\.jsonl: line 1 is not a release"):
        read_releases(path)


def test_bad_entry() -> None:
    """So is an entry of the ledger."""
    bad = Ledger("wine", (replace(entry(1, "publish", 1), time="yesterday"),))
    with pytest.raises(MonitorError, match="expected a time, got 'yesterday'"):
        read_events(bad, [])


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """A real Prometheus with an alert that fired and a canary that ran, days ago."""
    for program in ("prometheus", "promtool"):
        if not shutil.which(program):
            missing(f"{program} is not installed (Debian: apt install prometheus)")
    families = {
        "ALERTS": ('job="demo-monitor",alertname="ScoringQuality",alertstate="firing"', 10.0, 8.0),
        "model_info": ('job="demo",version="2",track="canary"', 8.1, 8.0),
    }
    text = ""
    for name, (labels, first, last) in families.items():
        text += f"# TYPE {name} gauge\n"
        moments = [int((AT - timedelta(days=first)).timestamp())]
        while moments[-1] < (AT - timedelta(days=last)).timestamp():
            moments.append(moments[-1] + 240)
        text += "".join(f"{name}{{{labels}}} 1 {moment}\n" for moment in moments)
    (tmp_path / "samples").write_text(f"{text}# EOF\n")
    backfill = f"promtool tsdb create-blocks-from openmetrics {tmp_path}/samples {tmp_path}/data"
    subprocess.run(backfill.split(), check=True, capture_output=True)
    (tmp_path / "prometheus.yml").write_text("global: {}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        "prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
        "--storage.tsdb.retention.time=10y", f"--web.listen-address={address}",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until_ready(f"http://{address}/-/ready")
        yield f"http://{address}"
        process.terminate()


def wait_until_ready(url: str) -> None:
    """Wait until a server answers."""
    for _ in range(300):
        try:
            with urlopen(url, timeout=5):
                return
        except URLError:
            time.sleep(0.1)
    pytest.fail(f"{url} is not ready")


@pytest.fixture
def captured(spool: Path, workspace: Path, monitor: Monitor) -> None:
    """Write what the report reads: two versions, their ledger without retraining, releases and labels."""
    for version in (1, 2):
        publish(workspace / "models", version, WINE, outputs=OUTPUTS, metrics={"accuracy": 0.9125})
    entries = [each for each in LEDGER.entries if each.action != "retrain"]
    lines = "".join(json.dumps(each.to_json()) + "\n" for each in entries)
    (workspace / "models/wine/ledger.jsonl").write_text(lines)
    fields = ("time", "commit", "image", "model", "who")
    (workspace / "releases.jsonl").write_text(
        "".join(json.dumps({name: getattr(each, name) for name in fields}) + "\n" for each in RELEASES)
    )
    predictions, labels = [], []
    for index in range(600):
        moment = AT - timedelta(days=20 - index / 30)
        key = {"id": f"id-{index}", "row": 0, "time": iso(moment)}
        version = 2 if timedelta(days=6) < AT - moment < timedelta(days=8) else 1
        predictions.append(key | {"version": version, "outputs": {"label": index % 3}})
        labels.append(key | {"metric": "label", "value": index % 3 if index % 10 else (index + 1) % 3})
    ship_rows(Lake("file:captured"), spool, "prediction", predictions)
    ship_rows(Lake("file:captured"), spool, "feedback", labels)


def report(monitor: Monitor, *options: str) -> str:
    """Write the report and return its section on the history."""
    code, _, err = monitor("report", "--models", "file:models", "--at", iso(AT), *options)
    assert code == 0, err
    page = Path("report.html").read_text()
    assert not re.search(r"<script|src=|href=.https?:|@import|url\(", page)
    (section,) = re.findall("<section><h2>History</h2>.*?</section>", page, re.DOTALL)
    return str(section)


def test_page(captured: None, monitor: Monitor, prometheus: str) -> None:
    """The page has every event with who and why, canaries, alerts, and the quality of both versions."""
    section = report(monitor, "--prometheus", prometheus)
    items = [unescape(re.sub("<[^>]+>", " ", item)) for item in re.findall("<li>.*?</li>", section)]
    text = [" ".join(item.split()) for item in items]
    assert [each[17:].partition(" until ")[0] for each in text][:6] == [
        "version 2 withdrawn by ada",
        "rolled back to version 1 by ada errs on white wine",
        "version 1 released by pipeline commit cccccccccccc, image sha256:000000000000",
        "version 2 in production by ada commit cccccccccccc, image sha256:000000000000",
        "canary of version 2",
        "version 2 published by ada <b>retrained</b>; accuracy 0.9125",
    ]
    assert any("alert ScoringQuality until 2026-01-24" in each for each in text)
    assert section.count('class="stage') == 3 + 1 + 1
    assert section.count('class="firing') == 1
    for version in (1, 2):
        assert re.search(rf"<title>version {version}, 2026-01-\d\d: 0\.9", section)


def test_token(captured: None, monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """No page has the token of Prometheus, whatever it is."""
    monkeypatch.setenv("PROMETHEUS_TOKEN", "s3cret\nx: y")
    section = report(monitor, "--prometheus", "http://127.0.0.1:1")
    assert "PROMETHEUS_TOKEN has a space" in section
    assert "s3cret" not in Path("report.html").read_text()


def test_without_prometheus(captured: None, monitor: Monitor) -> None:
    """A Prometheus that is unavailable is named on the page, which is written nevertheless."""
    section = report(monitor, "--prometheus", "http://127.0.0.1:1")
    assert "Prometheus at" in section
    assert "canary" not in section


def test_single_day() -> None:
    """A chart of a single day shows its value and its interval, and so does that of a single estimate."""
    measured = Measure("accuracy", 0.9, 0.8, 0.95, 40)
    estimated = Measure("estimated_accuracy", 0.7, 0.6, 0.8, 40, is_estimate=True)
    chart = over_time([Day(AT, measured, None)], "accuracy")
    assert chart.count("<circle") == chart.count('class="whisker"') == 1
    assert over_time([Day(AT, None, estimated)], "accuracy").count("<circle") == 1
    days = [Day(AT + number * DAY, None, estimated) for number in range(3)]
    assert "<circle" not in over_time(days, "accuracy")
