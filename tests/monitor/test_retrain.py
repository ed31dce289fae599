"""Who may start a training: the rules of `[retraining]`, and what the captured data has to show."""

import json
import multiprocessing
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from model_loader.mean_intervals import wilson
from model_loader.registry.ledger import Entry, Ledger, append, read_ledger
from model_loader.registry.stages import promote, rollback
from model_loader.store import Store, open_store
from monitor.__main__ import main
from monitor.config import parse_config
from monitor.errors import ConfigError
from monitor.evidence import is_beyond
from monitor.lake import Lake
from monitor.limits import Limit
from monitor.measures import Measure
from monitor.retraining import last_training
from tests.model_loader.drafts import publish, write_draft
from tests.monitor.conftest import Monitor
from tests.monitor.simulated import AT, DAY, iso, ship_rows
from tests.monitoring.conftest import free_port, program, running, wait_for

CONFIG = """
windows = ["1d", "7d"]
[limits.accuracy]
min = 0.9
[target]
output = "label"
classes = [0, 1]
[retraining]
min_new_labels = 200
"""
ALERT = ("retrain", "--reason", "alert", "--alert", "ScoringQuality")
Capture = Callable[..., None]


@pytest.fixture
def models(request: pytest.FixtureRequest, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with wine/1 and wine/2, which is in production, and the configuration; MODEL_STORE names it."""
    url = "file:models"
    if getattr(request, "param", "file") == "blob":
        url = f"{request.getfixturevalue('container').url}/team/models"
    monkeypatch.setenv("MODEL_STORE", url)
    monkeypatch.setenv("MODEL_PUBLISHER", "tester")
    store = open_store(url)
    for version in ("1", "2"):
        publish(write_draft(workspace / "draft", name="wine"), store)
        promote(store, "wine", version, "production")
    (workspace / "monitor.toml").write_text(CONFIG)
    return store


@pytest.fixture
def capture(file_lake: Lake, spool: Path) -> Capture:
    """A function that captures labelled predictions of a version, `per_day` on each day before `AT`."""

    def captured(accuracy: float, days: int = 2, per_day: int = 300, version: int = 2, seed: int = 1) -> None:
        count = days * per_day
        right = np.random.default_rng(seed).random(count) < accuracy
        times = [iso(AT - DAY * days * (1 - index / count)) for index in range(count)]
        rows = [
            {"id": f"{version}-{seed}-{index}", "row": 0, "time": time, "version": version, "status": 200}
            for index, time in enumerate(times)
        ]
        predictions = [row | {"inputs": {}, "outputs": {"label": 1}} for row in rows]
        labels = [
            {"id": row["id"], "row": 0, "time": row["time"], "metric": "label", "value": int(is_right)}
            for row, is_right in zip(rows, right, strict=True)
        ]
        ship_rows(file_lake, spool, "prediction", predictions)
        ship_rows(file_lake, spool, "feedback", labels)

    return captured


def trainings(store: Store) -> list[Entry]:
    """Return the ledger's entries about trainings."""
    return [entry for entry in read_ledger(store, "wine").entries if entry.action == "retrain"]


def test_alert(models: Store, capture: Capture, monitor: Monitor) -> None:
    """A model that has decayed is trained again; the ledger says which alert asked."""
    capture(0.75)
    code, out, err = monitor(*ALERT, "--at", AT.isoformat())
    assert (code, err) == (0, "")
    asked, why, answer = out.splitlines()
    (entry,) = trainings(models)
    assert asked == f"wine: asked by {entry.reason}: wine/2 is trained again"
    assert why.startswith("accuracy 0.7")
    assert why.endswith("should be at least 0.9; 600 new labels")
    assert answer == "train=true"
    current = read_ledger(models, "wine").current("production")
    assert (entry.version, entry.digest, entry.stage, entry.by) == (2, current.digest, None, "tester")
    assert entry.reason
    assert entry.reason.startswith("alert ScoringQuality (")
    assert current.action == "promote"
    assert rollback(models, "wine", "production").version == 1

    _, out, _ = monitor(*ALERT, "--at", (AT + timedelta(hours=3)).isoformat())
    assert "refused: the cool-down of 24 hours is not over: the last training began 3 hours ago, at" in out
    assert out.endswith(f"for {entry.reason}\ntrain=false\n")
    assert len(trainings(models)) == 1


@pytest.mark.parametrize(
    ("rules", "accuracy", "message"),
    [
        ("enabled = false", 0.7, "retraining is switched off: enabled = false in [retraining]"),
        ("min_new_labels = 601", 0.7, "600 new labels; min_new_labels is 601"),
        ("", 0.95, "no measure of wine/2 is beyond its limit by more than chance explains"),
        ("", None, "0 new labels; min_new_labels is 200"),
        ("min_new_labels = 0", None, "no window has as many labels of wine/2 as min_labels"),
    ],
    ids=["switch", "few labels", "good model", "no labels", "nothing to judge"],
)
def test_refused(
    models: Store, capture: Capture, monitor: Monitor, rules: str, accuracy: float | None, message: str
) -> None:
    """A refusal names its reason, and leaves the ledger as it is."""
    Path("monitor.toml").write_text(CONFIG.replace("min_new_labels = 200", rules or "min_new_labels = 200"))
    if accuracy is not None:
        capture(accuracy)
    code, out, _ = monitor(*ALERT, "--at", AT.isoformat())
    assert (code, out) == (0, f"wine: asked by alert ScoringQuality, refused: {message}\ntrain=false\n")
    assert not trainings(models)


def test_cap(models: Store, capture: Capture, monitor: Monitor) -> None:
    """At most so many trainings begin in a day; when it is over, the next one is granted."""
    Path("monitor.toml").write_text(f'{CONFIG}\ncooldown = "1h"\nmax_per_day = 2'.replace("= 200", "= 0"))
    capture(0.7)
    answers = [
        monitor(*ALERT, "--at", (AT + timedelta(hours=hours)).isoformat())[1].splitlines()
        for hours in (0, 2, 4, 25)
    ]
    assert [lines[-1] for lines in answers] == ["train=true", "train=true", "train=false", "train=true"]
    assert answers[2][0].endswith("refused: 2 trainings began within a day; max_per_day is 2")


def test_new_labels(models: Store, capture: Capture, monitor: Monitor) -> None:
    """Labels that were there at the last training are not new."""
    capture(0.7)
    assert monitor(*ALERT, "--at", (AT - DAY).isoformat())[1].endswith("301 new labels\ntrain=true\n")
    Path("monitor.toml").write_text(CONFIG.replace("= 200", "= 301"))
    _, out, _ = monitor(*ALERT, "--at", (AT + timedelta(hours=1)).isoformat())
    assert "refused: 299 new labels since 2026-01-31 00:00; min_new_labels is 301" in out


def test_snapshots(models: Store, workspace: Path, capture: Capture, monitor: Monitor) -> None:
    """Without an entry, the data of the model in production ends where its newest snapshot does."""
    ends = [iso(AT - 3 * DAY), iso(AT - timedelta(hours=12)), iso(AT - 2 * DAY)]
    digest = f"sha256:{'0' * 64}"
    snapshots = [{"digest": digest, "since": ends[0], "until": end, "rows": 1} for end in ends]
    data = {"name": "wine", "snapshots": snapshots}
    publish(write_draft(workspace / "next", name="wine", data=data), models)
    promote(models, "wine", "3", "production")
    capture(0.7, version=3)
    _, out, _ = monitor(*ALERT, "--at", AT.isoformat())
    assert "refused: 149 new labels since 2026-01-31 12:00; min_new_labels is 200" in out


def test_snapshot_until_a_later_day(models: Store, workspace: Path) -> None:
    """A snapshot whose end was still to come does not stop the trainings until then."""
    snapshot = {"digest": f"sha256:{'0' * 64}", "since": iso(AT), "until": "2999-01-01T00:00:00Z", "rows": 1}
    data = {"name": "wine", "snapshots": [snapshot]}
    publish(write_draft(workspace / "next", name="wine", data=data), models)
    last = last_training(models, read_ledger(models, "wine"), 3)
    assert last is not None
    assert last <= datetime.now(UTC)


def test_people(models: Store, monitor: Monitor) -> None:
    """What people decided needs no data and no rules, and begins the cool-down of the others."""
    Path("monitor.toml").write_text(CONFIG.replace("[retraining]", "[retraining]\nenabled = false"))
    for reason in ("commit", "manual"):
        assert monitor("retrain", "--reason", reason)[1].endswith("wine/2 is trained again\ntrain=true\n")
    assert [(entry.reason or "").partition(" (")[0] for entry in trainings(models)] == ["commit", "manual"]
    Path("monitor.toml").write_text(CONFIG)
    assert "the cool-down" in monitor("retrain", "--reason", "cadence")[1]


def test_first_training(workspace: Path, monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store without a version has no ledger to write to: the first model is trained."""
    monkeypatch.setenv("MODEL_STORE", "file:models")
    code, out, _ = monitor("retrain", "--name", "wine", "--reason", "commit")
    assert (code, out) == (0, "wine: asked by commit: wine is trained for the first time\ntrain=true\n")
    assert not (workspace / "models").exists()


def test_cadence(models: Store, capture: Capture, monitor: Monitor) -> None:
    """The cadence needs new labels and no alert, and says how good the model is that it replaces."""
    capture(0.8, version=1, seed=2)
    capture(0.97)
    for version, days in ((1, 1.75), (2, 1.5)):
        append(models, "wine", partial(promotion, version, AT - DAY * days))
    _, out, _ = monitor("retrain", "--reason", "cadence", "--at", AT.isoformat())
    asked, why, summary, answer = out.splitlines()
    assert asked.startswith("wine: asked by cadence (request ")
    assert (why, answer) == ("1200 new labels", "train=true")
    assert summary.startswith("version 2 in production since 2026-01-30 12:00: accuracy 0.9")
    assert ", 450 labels; before: version 1 accuracy 0." in summary
    assert summary.endswith(", 150 labels")


def promotion(version: int, time: datetime, ledger: Ledger) -> Entry:
    """Return the entry that promotes a version to production at a time."""
    digest = next(entry.digest for entry in ledger.entries if entry.version == version)
    return Entry(iso(time), "promote", version, digest, "tester", "production")


def week_of_chance(seed: int, accuracy: float) -> tuple[list[int], list[int]]:
    """Return the hours of a week in which an alert fires, and in which the decision agrees, of chance alone.

    Both look at the last day and the last week, with 300 labels a day and a limit of 0.9.
    """
    right = np.random.default_rng(seed).random(8 * 300) < accuracy
    sums = np.concatenate([[0], right.cumsum()])
    alerts, agreed = set(), set()
    for hour in range(7 * 24):
        end = int((1 + hour / 24) * 300)
        for start in (end - 300, max(0, end - 7 * 300)):
            count, total = int(sums[end] - sums[start]), end - start
            found = Measure("accuracy", count / total, *wilson(count, total), total)
            if found.high is not None and found.high < 0.9:
                alerts.add(hour)
            if is_beyond(found, Limit("accuracy", "min", "floor", 0.9)):
                agreed.add(hour)
    return sorted(alerts), sorted(agreed)


def test_noise(models: Store, capture: Capture, monitor: Monitor) -> None:
    """In a week of chance, alerts fire of a model that is just above its limit, and start no training."""
    hours, _ = week_of_chance(2, 0.905)
    assert len(hours) > 3
    capture(0.905, days=8, seed=2)
    for hour in hours[::3]:
        at = AT - 7 * DAY + timedelta(hours=hour)
        _, out, _ = monitor(*ALERT, "--at", at.isoformat())
        assert "refused: no measure of wine/2 is beyond its limit by more than chance explains" in out
    assert not trainings(models)


def test_weeks_of_chance() -> None:
    """Of a model exactly at its limit, an alert fires in half of the weeks, and a training begins in three.

    Labels come all day, and each look at them is another chance to be wrong.
    """
    weeks = [week_of_chance(seed, 0.9) for seed in range(200)]
    assert sum(bool(alerts) for alerts, _ in weeks) == pytest.approx(100, abs=5)
    assert sum(bool(agreed) for _, agreed in weeks) == 3
    assert not any(agreed for seed in range(200) for agreed in week_of_chance(seed, 0.905)[1:])


def ask(barrier: Barrier, cache: Path, output: Path) -> None:
    """Ask for a training, at the same moment as the other processes at the barrier."""
    with output.open("w") as file, redirect_stdout(file):
        barrier.wait(60)
        main([*ALERT, "--at", AT.isoformat(), "--cache", str(cache)])


@pytest.mark.parametrize("models", ["file", "blob"], indirect=True)
def test_storm(models: Store, capture: Capture, tmp_path: Path) -> None:
    """Ten alerts at the same moment start one training; the others say which one it is."""
    capture(0.7)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(10)
    outputs = [tmp_path / f"{number}.txt" for number in range(10)]
    processes = [
        context.Process(target=ask, args=(barrier, tmp_path / "cache", output)) for output in outputs
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 10
    (entry,) = trainings(models)
    granted, *refused = sorted((output.read_text() for output in outputs), key=lambda text: "refused" in text)
    assert granted.endswith("train=true\n")
    for text in refused:
        assert "refused: the cool-down of 24 hours is not over: the last training began" in text
        assert text.endswith(f"for {entry.reason}\ntrain=false\n")


def test_alert_of_the_data(models: Store, capture: Capture, monitor: Monitor) -> None:
    """Without the name of an alert, the entry names the one that the captured data agrees with."""
    capture(0.7)
    assert (
        "asked by alert ScoringQuality ("
        in monitor("retrain", "--reason", "alert", "--at", AT.isoformat())[1]
    )
    Path("monitor.toml").write_text(f"{CONFIG}\nconfirm = false\ncooldown = '60m'\nmax_per_day = 9")
    later = (AT + timedelta(hours=2)).isoformat()
    assert "0 new labels since" in monitor("retrain", "--reason", "alert", "--at", later)[1]


def granted(monitor: Monitor, *arguments: str) -> str:
    """Ask for a training; return the output if it was granted, and nothing if no alert is firing."""
    code, out, err = monitor(*arguments)
    assert (code, err) == (0, "")
    if out == "wine: no alert that asks for a training is firing\ntrain=false\n":
        return ""
    assert out.endswith("train=true\n")
    return out


def test_prometheus(models: Store, capture: Capture, monitor: Monitor, tmp_path: Path) -> None:
    """The pull form asks a Prometheus which alerts are firing that have the label, about this model."""
    capture(0.7)
    labels = {
        "ScoringQuality": {"retrain": "yes", "job": "demo-monitor"},
        "ScoringDrift": {"job": "demo"},
        "OfAnotherService": {"retrain": "yes", "job": "other"},
    }
    rules = [
        {"alert": alert, "expr": 'label_replace(vector(1), "name", "wine", "", "")', "labels": more}
        for alert, more in labels.items()
    ]
    group = {"name": "test", "interval": "1s", "rules": rules}
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [group]}))
    (tmp_path / "prometheus.json").write_text(json.dumps({"rule_files": [str(tmp_path / "rules.json")]}))
    port = free_port()
    asked = (
        "retrain",
        "--reason",
        "alert",
        "--prometheus",
        f"http://127.0.0.1:{port}",
        "--at",
        AT.isoformat(),
    )
    code, _, err = monitor(*asked)
    assert (code, "is unreachable" in err) == (1, True)
    command = [
        program("prometheus"), f"--config.file={tmp_path}/prometheus.json",
        f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with running(command, port, tmp_path / "log"):
        out = wait_for(lambda: granted(monitor, *asked), "the alert")
    assert "ScoringDrift" not in out
    assert "OfAnotherService" not in out
    (entry,) = trainings(models)
    assert entry.reason
    assert entry.reason.startswith("alert ScoringQuality (")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"cooldown": "soon"}, "expected a duration such as 12h or 7d, got 'soon'"),
        ({"max_per_day": 0}, "retraining: expected max_per_day to be 1 or more, got 0"),
        ({"min_new_labels": -1}, "retraining: expected min_new_labels to be 0 or more, got -1"),
        ({"enabled": "no"}, "retraining: expected 'enabled' to be bool, got str"),
        ({"min_labels": 1}, "retraining: unknown field 'min_labels'; the fields are enabled, cooldown"),
    ],
)
def test_config(document: dict[str, object], message: str) -> None:
    """A rule that could not be followed is refused."""
    with pytest.raises(ConfigError, match=message):
        parse_config({"retraining": document})


@pytest.mark.parametrize(
    "arguments",
    [
        ("cadence", "--alert", "A"),
        ("alert", "--alert", "a b"),
        ("alert", "--prometheus", "file:x"),
        ("never",),
    ],
)
def test_usage(models: Store, monitor: Monitor, arguments: tuple[str, ...]) -> None:
    """What makes no sense is refused, and asks for nothing."""
    code, out, err = monitor("retrain", "--reason", *arguments)
    assert code in (1, 2)
    assert (out, bool(err)) == ("", True)
    assert not trainings(models)
