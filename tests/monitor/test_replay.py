"""Replay: what another model answers to captured rows, and the gate `[replay]`."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from app import create_app
from app.settings import Settings
from monitor.errors import ConfigError
from monitor.replay_gate import read_limits
from tests import models
from tests.conftest import write_package
from tests.monitor.conftest import Monitor
from tests.monitor.spool_writer import feedback, prediction, write_segment

ROOT = Path(__file__).parents[2]
STORE = ROOT / "model_store/wine"
SLICES = "[slices]\nstrong = \"(inputs->>'alcohol')::DOUBLE >= 13\"\n"
REQUESTS, ROWS = 60, 20


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spool of a service with wine/1 that answered requests of random wines, and labels of most rows."""
    directory = tmp_path_factory.mktemp("captured") / "spool"
    app = create_app(Settings(model_path=STORE / "1", web_concurrency=1, capture_dir=directory))
    samples = json.loads((STORE / "1/samples.json").read_bytes())
    known = np.array([each["inputs"]["x"][0] for each in samples])
    random = np.random.default_rng(0)
    labels = []
    for _ in range(REQUESTS):
        x = known[random.integers(0, len(known), ROWS)] * (1 + 0.15 * random.standard_normal((ROWS, 13)))
        response = app.test_client().post("/score", json={"inputs": x.tolist()})
        answered = response.get_json()["outputs"]["label"]
        truth = np.where(random.random(ROWS) < 0.2, random.integers(0, 3, ROWS), answered).tolist()
        time = datetime.now(UTC).isoformat()
        id_ = response.headers["x-prediction-id"]
        labels += [feedback(id_, truth[row], row, time=time) for row in range(ROWS) if random.random() < 0.7]
    app.extensions["service"].capture.close()
    write_segment(directory, "feedback", labels)
    return directory


@pytest.fixture
def filled(captured: Path, spool: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spool with the captured rows, in a clone without `gate.toml`."""
    shutil.copytree(captured, spool)
    monkeypatch.setenv("CAPTURE_DIR", str(spool))
    return spool


def replayed(monitor: Monitor, package: Path, *options: str) -> dict[str, Any]:
    """Replay, and return what was found."""
    code, _, err = monitor("replay", "--package", package, "--json", "replay.json", *options)
    assert code == 0, err
    document: dict[str, Any] = json.loads(Path("replay.json").read_bytes())
    return document


def test_itself(filled: Path, monitor: Monitor) -> None:
    """A model differs in nothing from itself: in no row, distribution, slice or metric."""
    Path("monitor.toml").write_text(SLICES)
    found = replayed(monitor, STORE / "1")
    assert (found["rows"], found["replayed"], found["refused"]) == (REQUESTS * ROWS, REQUESTS * ROWS, 0)
    assert {each["output"]: each["differing"] for each in found["outputs"]} == {
        "any": 0, "label": 0, "probabilities": 0
    }  # fmt: skip
    assert [each["differing"] for each in found["slices"]] == [0, 0]
    for output in found["outputs"]:
        for each in output["distributions"]:
            assert each["then"] == pytest.approx(each["now"], rel=1e-5)
    assert {each["metric"] for each in found["metrics"]} == {"accuracy", "log_loss", "brier"}
    for each in found["metrics"]:
        assert (each["difference"], each["low"], each["high"]) == pytest.approx((0, 0, 0), abs=1e-6)


def test_other_version(filled: Path, monitor: Monitor) -> None:
    """Of version 2 it finds what pandas finds in the rows, the labels and the answers of `/score`."""
    Path("monitor.toml").write_text(SLICES)
    lines = [
        json.loads(line)
        for path in filled.glob("name=wine/kind=prediction/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    labels = [
        json.loads(line)
        for path in filled.glob("name=wine/kind=feedback/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    found = replayed(monitor, STORE / "2")

    client = create_app(Settings(model_path=STORE / "2", web_concurrency=1)).test_client()
    answers = client.post("/score", json=[each["inputs"] for each in lines]).get_json()["predictions"]
    frame = pandas.DataFrame(
        {
            "id": [each["id"] for each in lines],
            "row": [each["row"] for each in lines],
            "strong": [each["inputs"]["alcohol"] >= 13 for each in lines],
            "then": [each["outputs"]["label"] for each in lines],
            "now": [each["label"] for each in answers],
        }
    )
    then = np.array([each["outputs"]["probabilities"] for each in lines])
    now = np.array([each["probabilities"] for each in answers])
    outputs = {each["output"]: each for each in found["outputs"]}
    differs = frame.then != frame.now
    assert 0 < differs.sum() < len(frame)
    assert outputs["label"]["differing"] == differs.sum()
    moved = (np.abs(now - then) > 1e-5 * np.abs(then) + 1e-6).any(axis=1)
    assert outputs["probabilities"]["differing"] == moved.sum()
    assert outputs["any"]["differing"] == (differs | moved).sum()
    size = pandas.Series(np.abs(now - then).max(axis=1))
    for name, value in (("median", size.median()), ("p95", size.quantile(0.95)), ("largest", size.max())):
        assert outputs["probabilities"][name] == pytest.approx(value, rel=1e-6)
    (distribution,) = outputs["label"]["distributions"]
    for side in ("then", "now"):
        assert distribution[side] == {str(key): count for key, count in frame[side].value_counts().items()}
    for index, each in enumerate(outputs["probabilities"]["distributions"]):
        assert each["now"]["mean"] == pytest.approx(now[:, index].mean(), rel=1e-6)

    for each in found["slices"]:
        part = differs[frame.strong == (each["value"] == "true")]
        assert (each["output"], each["rows"], each["differing"]) == ("label", len(part), part.sum())
    assert len(found["slices"]) == 2

    truth = pandas.DataFrame(labels)[["id", "row", "value"]]
    joined = frame.assign(p_then=[*then], p_now=[*now]).merge(truth, on=["id", "row"])
    scores = {
        "accuracy": (joined.then == joined.value, joined.now == joined.value),
        "log_loss": tuple(
            -np.log([p[label] for p, label in zip(joined[side], joined.value, strict=True)])
            for side in ("p_then", "p_now")
        ),
    }
    metrics = {(each["metric"], each["slice"]): each for each in found["metrics"]}
    for metric, (old, new) in scores.items():
        each = metrics[metric, None]
        difference = pandas.Series(np.asarray(new, float) - np.asarray(old, float))
        sign = 1 if metric == "accuracy" else -1
        assert each["rows"] == len(joined)
        assert (each["then"], each["now"]) == pytest.approx((np.mean(old), np.mean(new)), rel=1e-6)
        assert each["difference"] == pytest.approx(sign * difference.mean(), rel=1e-6)
        half = (each["high"] - each["low"]) / 2
        assert half == pytest.approx(1.963 * difference.sem(), rel=2e-3)
    strong = joined[joined.strong]
    each = metrics["accuracy", "strong=true"]
    assert (each["rows"], each["now"]) == (len(strong), pytest.approx((strong.now == strong.value).mean()))


def test_window(filled: Path, monitor: Monitor) -> None:
    """Rows outside of the window are not replayed; of more rows than asked for, always the same ones are."""
    found = replayed(monitor, STORE / "2", "--rows", "100")
    assert (found["rows"], found["replayed"], found["outputs"][0]["rows"]) == (REQUESTS * ROWS, 100, 100)
    again = replayed(monitor, STORE / "2", "--rows", "100")
    assert again["outputs"] == found["outputs"]
    until = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert replayed(monitor, STORE / "2", "--until", until)["rows"] == 0


@pytest.mark.parametrize(
    ("rules", "failed"),
    [
        ("", []),
        ("max_refused = 0\nmax_violations = 0\n[replay.max_differing]\nlabel = 0.9\n", []),
        ("[replay.max_differing]\nlabel = 0.001\nprobabilities = 1\n", ["max_differing label"]),
        ("[replay.max_differing]\nscore = 1\n", ["max_differing score"]),
        ("[replay.max_drop]\naccuracy = 0.3\nlog_loss = 9\n", []),
        ("[replay.max_drop]\naccuracy = 0.001\nmae = 0\n", ["max_drop accuracy", "max_drop mae"]),
    ],
)
def test_gate(filled: Path, monitor: Monitor, rules: str, failed: list[str]) -> None:
    """A rule fails if the candidate certainly exceeds its limit; the message names it, and a page has it."""
    Path("gate.toml").write_text(f"[accuracy]\nmin = 0.9\n\n[replay]\n{rules}")
    code, out, err = monitor("replay", "--package", STORE / "2", "--out", "replay.html")
    assert code == (1 if failed else 0)
    assert out.count("FAILED") == len(failed) == Path("replay.html").read_text().count("FAILED")
    if failed:
        assert err.strip().endswith(f"does not pass [replay] of gate.toml: {', '.join(failed)}")


def test_few_rows(monitor: Monitor, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten rows without a difference none is above a limit of 0; one label is too few for a drop."""
    monkeypatch.setenv("CAPTURE_DIR", str(spool))
    sample = json.loads((STORE / "2/samples.json").read_bytes())[0]
    features = json.loads((STORE / "2/manifest.json").read_bytes())["features"]
    inputs = dict(zip(features, sample["inputs"]["x"][0], strict=True))
    outputs = {name: value[0] for name, value in sample["outputs"].items()}
    other = outputs | {"label": (outputs["label"] + 1) % 3}
    now = datetime.now(UTC).isoformat()
    rows = [
        prediction(f"{number:032}", name="wine", version=2, time=now, inputs=inputs, outputs=outputs)
        for number in range(10)
    ]
    write_segment(spool, "prediction", rows)
    Path("gate.toml").write_text("[replay.max_differing]\nlabel = 0\nprobabilities = 0\n")
    assert monitor("replay", "--package", STORE / "2")[0] == 0
    row = prediction("1" * 32, name="wine", version=2, time=now, inputs=inputs, outputs=other)
    write_segment(spool, "prediction", [row])
    write_segment(spool, "feedback", [feedback("1" * 32, other["label"], time=now)])
    Path("gate.toml").write_text("[replay.max_drop]\naccuracy = 0.1\n")
    code, out, _ = monitor("replay", "--package", STORE / "2")
    assert code == 0
    assert "passed: too few labels" in out
    # Two rows that are both wrong now have no variance, which is no certainty.
    row |= {"id": "2" * 32}
    write_segment(spool, "prediction", [row])
    write_segment(spool, "feedback", [feedback("2" * 32, other["label"], time=now)])
    code, out, _ = monitor("replay", "--package", STORE / "2")
    assert code == 0
    assert "passed: too few labels" in out
    Path("gate.toml").write_text("[replay]\nmin_labels = 2\n[replay.max_drop]\naccuracy = 0.1\n")
    assert monitor("replay", "--package", STORE / "2")[0] == 1


@pytest.mark.parametrize(("no_data", "code"), [("pass", 0), ("fail", 1)])
def test_nothing_captured(monitor: Monitor, no_data: str, code: int) -> None:
    """Where nothing was captured, replay says so, and passes or fails as set."""
    Path("gate.toml").write_text(f'[replay]\nno_data = "{no_data}"\nmax_refused = 0\n')
    found, out, _ = monitor("replay", "--package", STORE / "2")
    assert found == code
    assert "no captured row of wine" in out
    assert "nothing was captured" in out


def test_refused_and_violations(monitor: Monitor, spool: Path, tmp_path: Path) -> None:
    """Rows that the candidate refuses are counted by reason; values that violate its schema by rule."""
    schema = {"features": {"a": {"type": "number", "max": 5, "max_missing": 0.5}, "b": {"type": "number"}}}
    package = write_package(tmp_path / "m", models.affine(), features=["a", "b"], schema=schema, name="wine")
    time = datetime.now(UTC).isoformat()
    inputs: list[Any] = [{"a": 1.0, "b": 2.0}, {"a": 9.0, "b": 2.0}, {"a": None, "b": 0.0}, {"c": 1.0}]
    inputs += [{"a": [1.0], "b": 1.0}, {"a": {"shape": [9], "sha256": "00"}, "b": 1.0}]
    outputs = {"y": [3.0, 5.0]}
    rows = [
        prediction(str(index), time=time, inputs=each, outputs=outputs) for index, each in enumerate(inputs)
    ]
    failure = prediction("f", time=time, status=500, outputs=None)
    write_segment(spool, "prediction", [*rows, failure])
    # Two of five are certainly more than 0.117, and one of five is more than 0.036.
    Path("gate.toml").write_text("[replay]\nmax_refused = 0.12\nmax_violations = 0.04\n")
    assert monitor("replay", "--package", package)[0] == 0
    Path("gate.toml").write_text("[replay]\nmax_refused = 0.11\nmax_violations = 0.03\n")
    code, out, err = monitor("replay", "--package", package, "--json", "replay.json")
    assert code == 1
    assert "max_refused, max_violations" in err
    found = json.loads(Path("replay.json").read_bytes())
    assert (found["rows"], found["replayed"], found["refused"], found["incomplete"]) == (6, 5, 2, 1)
    assert any(
        "missing column 'a'" in message or "unknown column 'c'" in message for message in found["errors"]
    )
    (violation,) = found["violations"]
    assert violation == {
        "feature": "a",
        "rule": "above",
        "share": 0.2,
        "low": pytest.approx(0.0362, abs=1e-4),
    }
    assert [(each["output"], each["differing"]) for each in found["outputs"]] == [("any", 2), ("y", 2)]
    assert "Why" not in out
    assert "REASON" in out


@pytest.mark.parametrize("field", [{"pii": "hash"}, {"pii": True}])
def test_withheld(monitor: Monitor, spool: Path, tmp_path: Path, field: dict[str, Any]) -> None:
    """Rows that lack what the model needs cannot be replayed, which is as if nothing was captured."""
    schema = {"features": {"a": {"type": "number", **field}}}
    package = write_package(tmp_path / "m", models.affine(), features=["a", "b"], schema=schema, name="wine")
    row = prediction("1", time=datetime.now(UTC).isoformat(), inputs={"b": 2.0}, outputs={"y": [3.0, 5.0]})
    write_segment(spool, "prediction", [row])
    Path("gate.toml").write_text("[replay]\nmax_refused = 0\n")
    code, out, _ = monitor("replay", "--package", package)
    assert code == 0
    assert "1 captured rows cannot be replayed: they lack a, see schema.json" in out
    assert "passed: no captured row can be replayed" in out


def test_large_tensors(monitor: Monitor, spool: Path, package: Path) -> None:
    """Rows of which capture has a digest only are left out."""
    inputs = {"x": {"shape": [2], "sha256": "00"}}
    row = prediction("1", time=datetime.now(UTC).isoformat(), inputs=inputs, outputs={"y": [3.0, 5.0]})
    write_segment(spool, "prediction", [row])
    Path("gate.toml").write_text('[replay]\nno_data = "fail"\n')
    code, out, _ = monitor("replay", "--package", package, "--name", "wine")
    assert code == 1
    assert "none of 1 captured rows can be replayed; 1 lack a large tensor" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("replay = 1", r"\[replay\]: expected a table"),
        ("[replay]\nmax = 1", "unknown rule 'max'; the rules are no_data, min_labels, max_refused"),
        ("[replay]\nmax_refused = -1", "expected 'max_refused' to be a number from 0, got -1"),
        ('[replay]\nno_data = "maybe"', "expected no_data to be 'pass' or 'fail', got 'maybe'"),
        ("[replay]\nmin_labels = 0", "expected min_labels to be a whole number from 1, got 0"),
        ("[replay.max_drop]\nf1 = 1", "unknown rule 'f1'; the rules are accuracy"),
        ("[replay]\nmax_differing = 1", r"\[replay.max_differing\]: expected a table"),
        ("[replay", "is not TOML"),
    ],
)
def test_bad_gate(tmp_path: Path, text: str, message: str) -> None:
    """A rule that is misspelled or has a wrong value is refused."""
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_limits(path)


def test_examples() -> None:
    """The gate of the clone, and the example in the documents, can be read."""
    assert read_limits(ROOT / "gate.toml").max_refused == 0
    page = (ROOT / "docs/pipeline.md").read_text()
    (example,) = re.findall(r"```\n# gate.toml\n(.*?)```", page, re.DOTALL)
    Path("gate.toml").write_text(example)
    limits = read_limits(Path("gate.toml"))
    assert (limits.max_differing, limits.max_drop) == ({"label": 0.3}, {"accuracy": 0.02})


def test_bad_package(monitor: Monitor, tmp_path: Path) -> None:
    """A candidate that the service would refuse is refused."""
    code, _, err = monitor("replay", "--package", tmp_path / "none")
    assert code == 1
    assert "none" in err


def test_without_service(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the service, as in the monitor's image, replay says what it needs."""
    monkeypatch.setitem(sys.modules, "app.commands.score_rows", None)
    code, _, err = monitor("replay", "--package", STORE / "2")
    assert code == 1
    assert "replay needs the service and its requirements.txt, run it in the clone" in err


@pytest.mark.parametrize(
    ("gate", "code", "words"),
    [
        (None, 0, "CAPTURE_STORE is not set, so there are no captured rows to replay"),
        (
            '[replay]\nno_data = "pass"\n',
            0,
            "CAPTURE_STORE is not set, so there are no captured rows to replay",
        ),
        ('[replay]\nno_data = "fail"\n', 1, "expected captured rows, by no_data in gate.toml"),
        ('[replay]\nno_data = "maybe"\n', 1, "expected no_data to be 'pass' or 'fail', got 'maybe'"),
    ],
    ids=["no gate", "pass", "fail", "maybe"],
)
def test_script(tmp_path: Path, gate: str | None, code: int, words: str) -> None:
    """Without a capture store, the pipeline's script passes or fails as `no_data` says, and says why."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/replay", tmp_path / "scripts")
    (tmp_path / "scripts/venv").write_text("#!/bin/sh\n")
    (tmp_path / "scripts/venv").chmod(0o755)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    if gate is not None:
        (tmp_path / "gate.toml").write_text(gate)
    environ = os.environ | {"CAPTURE_STORE": ""}
    done = subprocess.run([tmp_path / "scripts/replay"], env=environ, capture_output=True, text=True)
    assert done.returncode == code
    assert words in (done.stderr if code else done.stdout)
