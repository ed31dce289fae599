"""Counts and figures equal those of pandas and scikit-learn."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from model_loader.store import open_store
from monitor.commands.judge import to_json, to_text
from monitor.config import Config, parse_config
from monitor.database import Connection, open_database
from monitor.errors import QueryError
from monitor.lake import Lake
from monitor.measures import Measure, averages
from monitor.quality import Quality, calculate
from monitor.report import find, render
from tests.monitor.simulated import AT, DAY, iso, publish, ship_rows, softmax

# 200000 takes two minutes.
ROWS = int(os.environ.get("MONITOR_TEST_ROWS", "10000"))
WINE = {
    "outputs": {
        "label": {"type": "integer", "categories": [0, 1, 2]},
        "probabilities": {"type": "number", "min": 0, "max": 1},
    },
    "feedback": {
        "label": {"type": "label", "output": "label", "classes": [0, 1, 2]},
        "revenue": {"type": "number", "better": "higher"},
        "returned": {"type": "boolean"},
    },
}


@contextmanager
def calculated(lake: Lake, config: Config, at: datetime = AT) -> Iterator[tuple[Connection, Quality]]:
    """Calculate the quality of `wine`, with the models in `models`."""
    with open_database(lake, ["wine"]) as connection:
        yield connection, calculate(connection, "wine", open_store("file:models"), config, at)


def by_name(measures: tuple[Measure, ...]) -> dict[str, Measure]:
    """Return measures by their names."""
    return {each.metric: each for each in measures}


def simulate(rows: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return predictions of two versions over 40 days, and labels.

    The labels are shuffled; some are late, double, conflicting or of unknown predictions.
    """
    random = np.random.default_rng(7)
    scores = random.normal(size=(rows, 3)) * 1.5
    p = softmax(scores)
    truth = (random.random((rows, 1)) > softmax(scores * 0.7).cumsum(axis=1)).sum(axis=1)
    seconds = np.sort(random.random(rows)) * 40 * 86400
    predictions = pd.DataFrame(
        {
            "id": [f"id-{number // 3}" for number in range(rows)],
            "row": np.arange(rows) % 3,
            "time": [AT - 40 * DAY + timedelta(seconds=float(each)) for each in seconds],
            "version": random.integers(2, 4, rows),
            "status": np.where(random.random(rows) < 0.02, 500, 200),
            "p": list(p),
            "predicted": p.argmax(axis=1),
            "alcohol": random.normal(13, 1, rows),
        }
    )
    labelled = np.flatnonzero(random.random(rows) < 0.6)
    delays = random.exponential(20_000, len(labelled))
    labels = pd.DataFrame(
        {
            "id": predictions["id"].to_numpy()[labelled],
            "row": predictions["row"].to_numpy()[labelled],
            "time": [
                predictions["time"].iloc[index] + timedelta(seconds=float(delay))
                for index, delay in zip(labelled, delays, strict=True)
            ],
            "value": truth[labelled],
        }
    )
    again = labels.sample(frac=0.05, random_state=1).assign(time=lambda frame: frame["time"] + 2 * DAY)
    other = labels.sample(frac=0.05, random_state=2).assign(
        time=lambda frame: frame["time"] + 3 * DAY, value=lambda frame: (frame["value"] + 1) % 3
    )
    unknown = labels.sample(frac=0.02, random_state=3).assign(id=lambda frame: "unknown-" + frame["id"])
    return predictions, pd.concat([labels, again, other, unknown]).sample(frac=1, random_state=4)


def prediction_rows(predictions: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield lines of kind=prediction."""
    for row in predictions.itertuples():
        outputs = {"label": int(row.predicted), "probabilities": row.p.tolist()}
        yield {
            "id": row.id, "row": row.row, "time": iso(row.time), "version": row.version, "status": row.status,
            "inputs": {"alcohol": row.alcohol}, "outputs": outputs if row.status == 200 else None,
        }  # fmt: skip


def feedback_rows(labels: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield lines of kind=feedback."""
    for row in labels.itertuples():
        yield {"id": row.id, "row": row.row, "time": iso(row.time), "metric": "label", "value": row.value}


def expected_error(truth: Any, p: Any) -> float:
    """Return the calibration error, bin by bin."""
    confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
    total = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - confidence[inside].mean())
    return total / len(truth)


def test_classes(file_lake: Lake, spool: Path, workspace: Path) -> None:
    """Every count and every figure of two versions equals an independent calculation."""
    predictions, labels = simulate(ROWS)
    ship_rows(file_lake, spool, "prediction", prediction_rows(predictions))
    ship_rows(file_lake, spool, "feedback", feedback_rows(labels))
    for version in (2, 3):
        publish(workspace / "models", version, WINE)
    strong = "CASE WHEN (inputs->>'alcohol')::DOUBLE >= 13 THEN 'strong' ELSE 'light' END"
    config = parse_config({"windows": ["7d", "30d"], "slices": {"alcohol": strong}})
    with calculated(file_lake, config) as (_, quality):
        pass

    last = labels.sort_values(["time", "value"]).groupby(["id", "row"])
    table = last.agg(
        value=("value", "last"), first=("time", "min"), count=("value", "size"), kinds=("value", "nunique")
    )
    joined = predictions.join(table, on=["id", "row"])
    assert len(quality.windows) == 4
    for each in quality.windows:
        inside = joined[
            (joined["time"] >= AT - config.windows[each.window]) & (joined["version"] == each.version)
        ]
        answered = inside[inside["status"] == 200]
        known = answered[answered["value"].notna()]
        delay = (known["first"] - known["time"]).dt.total_seconds()
        counts = each.counts
        assert counts.predictions == len(answered)
        assert counts.failures == (inside["status"] != 200).sum()
        assert counts.labelled == len(known)
        assert counts.late == (delay > 86400).sum()
        assert counts.double == ((known["count"] > 1) & (known["kinds"] == 1)).sum()
        assert counts.conflicting == (known["kinds"] > 1).sum()
        assert counts.median_delay_s == pytest.approx(delay.median(), abs=1e-5)
        assert counts.p90_delay_s == pytest.approx(delay.quantile(0.9), abs=1e-5)
        check_figures(by_name(each.measured.measures), known)
        for name, part in (("strong", known["alcohol"] >= 13), ("light", known["alcohol"] < 13)):
            check_figures(by_name(each.slices["alcohol"][name].measures), known[part])
    ids = set(zip(predictions["id"], predictions["row"], strict=True))
    recent = labels[(labels["time"] >= AT - 30 * DAY) & (labels["time"] < AT)]
    reported = set(zip(recent["id"], recent["row"], strict=True))
    assert quality.unmatched["30d"] == len(reported - ids)


def check_figures(found: dict[str, Measure], known: pd.DataFrame) -> None:
    """Compare measures with scikit-learn."""
    truth, predicted = known["value"].astype(int).to_numpy(), known["predicted"].to_numpy()
    p = np.stack(known["p"].to_list())
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "precision": metrics.precision_score(truth, predicted, **macro),
        "recall": metrics.recall_score(truth, predicted, **macro),
        "macro_f1": metrics.f1_score(truth, predicted, **macro),
        "log_loss": metrics.log_loss(truth, p, labels=[0, 1, 2]),
        "brier": ((np.eye(3)[truth] - p) ** 2).sum(axis=1).mean(),
        "calibration_error": expected_error(truth, p),
        "recall of 1": metrics.recall_score(truth, predicted, labels=[1], average="macro"),
        "precision of 2": metrics.precision_score(truth, predicted, labels=[2], average="macro"),
    }
    for name, value in expected.items():
        measure = found[name]
        assert measure.value == pytest.approx(value, abs=1e-9), name
        assert measure.low is not None
        assert measure.high is not None
        assert measure.low < measure.value < measure.high, name


def test_numbers(file_lake: Lake, spool: Path, workspace: Path) -> None:
    """The figures of numbers equal scikit-learn's."""
    random = np.random.default_rng(3)
    truth = random.normal(100, 15, 2000)
    value = truth + random.normal(1, 5, 2000)
    times = [AT - timedelta(hours=float(each)) for each in random.random(2000) * 100 + 1]
    outputs = [[{"y": each}, {"y": [each]}][index % 2] for index, each in enumerate(value.tolist())]
    ship_rows(
        file_lake, spool, "prediction",
        [{"id": f"{i}", "row": 0, "time": iso(t), "version": 1, "inputs": {}, "outputs": o}
         for i, (t, o) in enumerate(zip(times, outputs, strict=True))],
    )  # fmt: skip
    ship_rows(
        file_lake, spool, "feedback",
        [{"id": f"{i}", "row": 0, "time": iso(t), "metric": "price", "value": y}
         for i, (t, y) in enumerate(zip(times, truth.tolist(), strict=True))],
    )  # fmt: skip
    schema = {"outputs": {"y": {"type": "number"}}, "feedback": {"price": {"type": "number", "output": "y"}}}
    publish(workspace / "models", 1, schema)
    with calculated(file_lake, parse_config({"windows": ["7d"]})) as (_, quality):
        found = by_name(quality.windows[0].measured.measures)
    expected = {
        "mae": metrics.mean_absolute_error(truth, value),
        "rmse": metrics.root_mean_squared_error(truth, value),
        "bias": (value - truth).mean(),
        "r2": metrics.r2_score(truth, value),
    }
    assert found.keys() == expected.keys()
    for name, figure in expected.items():
        measure = found[name]
        assert measure.value == pytest.approx(figure, abs=1e-9), name
        assert measure.low is not None
        assert measure.high is not None
        assert measure.low < figure < measure.high


def test_business(file_lake: Lake, spool: Path, workspace: Path) -> None:
    """Business metrics are a rate of what is reported, and a sum and mean over all predictions."""
    publish(workspace / "models", 2, WINE)
    time = iso(AT - DAY)
    captured = [
        {"id": f"{i}", "row": 0, "time": time, "version": 2, "ratio": 0.5, "outputs": {}} for i in range(10)
    ]
    ship_rows(file_lake, spool, "prediction", captured)
    reported = [
        ("0", "revenue", 10),
        ("1", "revenue", 20.5),
        ("0", "returned", True),
        ("1", "returned", False),
    ]
    ship_rows(
        file_lake, spool, "feedback",
        [{"id": id_, "row": 0, "time": time, "metric": name, "value": each} for id_, name, each in reported],
    )  # fmt: skip
    config = parse_config(
        {"windows": ["7d"], "business": {"revenue": {}, "total": {"metric": "revenue", "aggregate": "sum"}}}
    )
    with calculated(file_lake, config) as (_, quality):
        found = by_name(quality.windows[0].business)
    assert {name: (each.value, each.rows) for name, each in found.items()} == {
        "revenue": (3.05, 10),
        "total": (61.0, 10),
        "returned": (0.5, 2),
    }


@pytest.mark.parametrize(
    ("output", "schema"),
    [
        ({"label": 1, "probabilities": [0.2, 0.8]}, {"type": "label", "output": "label", "classes": [0, 1]}),
        (
            {"label": True, "probabilities": {"false": 0.2, "true": 0.8}},
            {"type": "boolean", "output": "label"},
        ),
        ({"probabilities": [0.2, 0.8]}, {"type": "label", "output": "probabilities", "classes": [0, 1]}),
        ({"probabilities": 0.8}, {"type": "boolean", "output": "probabilities"}),
        ({"probabilities": [0.8]}, {"type": "label", "output": "probabilities", "classes": ["no", "1"]}),
        ({"label": 1, "probabilities": [0.2, 0.8]}, {"type": "label", "output": "label"}),
    ],
)
def test_forms_of_outputs(
    file_lake: Lake, spool: Path, workspace: Path, output: dict[str, Any], schema: dict[str, Any]
) -> None:
    """A label and its probabilities are found in every form that a model answers."""
    outputs = {name: {"type": "number", "min": 0, "max": 1} for name in output if name == "probabilities"}
    publish(workspace / "models", 2, {"outputs": outputs, "feedback": {"truth": schema}})
    time = iso(AT - DAY)
    ship_rows(
        file_lake, spool, "prediction",
        [{"id": id_, "row": 0, "time": time, "version": 2, "outputs": output} for id_ in "abcd"],
    )  # fmt: skip
    is_boolean = schema["type"] == "boolean"
    labels = [
        {"id": id_, "row": 0, "time": time, "metric": "truth", "value": is_boolean or 1} for id_ in "abc"
    ]
    labels.append({"id": "d", "row": 0, "time": time, "metric": "truth", "value": False if is_boolean else 0})
    if "no" in schema.get("classes", ()):
        labels[-1]["value"] = "no"
    ship_rows(file_lake, spool, "feedback", labels)
    with calculated(file_lake, parse_config({"windows": ["7d"]})) as (_, quality):
        found = by_name(quality.windows[0].measured.measures)
    assert found["accuracy"].value == 0.75
    assert found["log_loss"].value == pytest.approx((-3 * np.log(0.8) - np.log(0.2)) / 4)
    assert found["brier"].value == pytest.approx((3 * 0.04 + 0.64) / 4)


def test_names_of_outputs(file_lake: Lake, spool: Path, workspace: Path) -> None:
    """Outputs and classes with names that DuckDB takes for paths are found."""
    outputs = {"$p/~": {"type": "number", "min": 0, "max": 1}, "/y": {"type": "string"}}
    feedback = {"truth": {"type": "label", "output": "/y", "classes": ["/a~", "$.b"]}}
    publish(workspace / "models", 2, {"outputs": outputs, "feedback": feedback})
    time = iso(AT - DAY)
    answer = {"/y": "/a~", "$p/~": {"/a~": 0.75, "$.b": 0.25}}
    key = {"row": 0, "time": time}
    ship_rows(
        file_lake, spool, "prediction", [{"id": i, **key, "version": 2, "outputs": answer} for i in "abcd"]
    )
    labels = [
        {"id": id_, **key, "metric": "truth", "value": "$.b" if id_ == "d" else "/a~"} for id_ in "abcd"
    ]
    ship_rows(file_lake, spool, "feedback", labels)
    with calculated(file_lake, parse_config({"windows": ["7d"]})) as (_, quality):
        found = by_name(quality.windows[0].measured.measures)
    assert found["accuracy"].value == 0.75
    assert found["log_loss"].value == pytest.approx((-3 * np.log(0.75) - np.log(0.25)) / 4)
    publish(workspace / "models", 2, {"feedback": {"truth": {"type": "number", "output": "/y"}}})
    ship_rows(file_lake, spool, "prediction", [{"id": "n", **key, "version": 2, "outputs": {"/y": 2.5}}])
    ship_rows(file_lake, spool, "feedback", [{"id": "n", **key, "metric": "truth", "value": 3}])
    with calculated(file_lake, parse_config({"windows": ["7d"]})) as (_, quality):
        assert by_name(quality.windows[0].measured.measures)["mae"].value == 0.5


def ship_pairs(lake: Lake, spool: Path, pairs: list[tuple[int, int]]) -> None:
    """Ship rows of version 2, a day ago, by the label and the answer of each."""
    key = {"row": 0, "time": iso(AT - DAY)}
    answers = [
        {"id": f"{i}", **key, "version": 2, "outputs": {"label": each}} for i, (_, each) in enumerate(pairs)
    ]
    ship_rows(lake, spool, "prediction", answers)
    labels = [{"id": f"{i}", **key, "metric": "label", "value": each} for i, (each, _) in enumerate(pairs)]
    ship_rows(lake, spool, "feedback", labels)


def test_undeclared_classes(file_lake: Lake, spool: Path, workspace: Path) -> None:
    """A label that is no declared class is no hit, even if the answer is the same; such rows are counted."""
    publish(workspace / "models", 2, {})
    config = parse_config({"windows": ["7d"], "target": {"output": "label", "classes": [0, 1]}})
    pairs = [(0, 0), (1, 1), (1, 0), (9, 9), (9, 8), (0, 9)]
    ship_pairs(file_lake, spool, pairs)
    with calculated(file_lake, config) as (connection, quality):
        (window,) = quality.windows
        worst = find(connection, quality, config).worst
    found = by_name(window.measured.measures)
    assert window.counts.undeclared == 3
    assert found["accuracy"].value == 2 / 6
    # Of 0 one of two is found, of 1 one of two, and of all others none.
    assert found["recall"].value == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert {each.id for each in worst} == {"2", "3", "4", "5"}


def test_too_many_classes(file_lake: Lake, spool: Path, workspace: Path) -> None:
    """A version with a thousand labels that nobody declared has no measures; the others are measured."""
    declared = {"type": "label", "output": "label", "classes": [0, 1]}
    publish(workspace / "models", 3, {"feedback": {"label": declared}})
    publish(workspace / "models", 2, {"feedback": {"label": {"type": "label", "output": "label"}}})
    key = {"row": 0, "time": iso(AT - DAY)}
    ids = [(f"{version}-{i}", version, i) for version, rows in ((2, 1001), (3, 4)) for i in range(rows)]
    ship_rows(
        file_lake, spool, "prediction",
        [{"id": id_, **key, "version": version, "outputs": {"label": 1}} for id_, version, _ in ids],
    )  # fmt: skip
    ship_rows(
        file_lake, spool, "feedback",
        [{"id": id_, **key, "metric": "label", "value": f"made-up {i}" if version == 2 else i % 2}
         for id_, version, i in ids],
    )  # fmt: skip
    config = parse_config({"windows": ["7d"]})
    with calculated(file_lake, config) as (connection, quality):
        page = render(find(connection, quality, config))
    newer, older = quality.windows
    assert by_name(newer.measured.measures)["accuracy"].value == 0.5
    assert (older.measured.measures, older.counts.predictions) == ((), 1001)
    assert quality.targets[2] is None
    assert set(quality.classes) == {3}
    note = "version 2 is not measured: the output 'label' or its labels have more than 1000 values"
    assert note in to_text(quality)
    assert "Version 2 is not measured" in page
    assert "Nothing says what the labels" not in page
    assert to_json(quality)["faults"].keys() == {2}


def test_unknown_target(file_lake: Lake, spool: Path, workspace: Path) -> None:
    """A version that the store of models does not have is counted, and not judged."""
    ship_rows(
        file_lake, spool, "prediction",
        [{"id": "a", "row": 0, "time": iso(AT - DAY), "version": 9, "outputs": {"label": 1}}],
    )  # fmt: skip
    with calculated(file_lake, parse_config({"windows": ["7d"]})) as (_, quality):
        assert quality.targets == {9: None}
        assert quality.windows[0].counts.predictions == 1
        assert quality.windows[0].measured.measures == ()


def test_wrong_slice(file_lake: Lake, spool: Path, workspace: Path) -> None:
    """A slice that DuckDB rejects is named."""
    ship_rows(
        file_lake, spool, "prediction",
        [{"id": "a", "row": 0, "time": iso(AT - DAY), "version": 9, "outputs": {}}],
    )  # fmt: skip
    config = parse_config({"slices": {"wrong": "nothing > 1"}})
    with (
        pytest.raises(QueryError, match=r"monitor.toml: slices.wrong: Binder Error"),
        calculated(file_lake, config),
    ):
        pass


@pytest.mark.parametrize(
    ("right", "wrong", "has_interval"),
    [(0, 3, False), (2, 2, False), (30, 0, False), (30, 6, True)],
)
def test_few_labels(
    file_lake: Lake, spool: Path, workspace: Path, right: int, wrong: int, has_interval: bool
) -> None:
    """Macro averages have no interval if a class has few labels, or if all answers are right or wrong."""
    publish(workspace / "models", 2, WINE)
    moment = iso(AT - timedelta(hours=1))
    predictions, labels = [], []
    for truth in (0, 1):
        for number in range(right + wrong):
            key = {"id": f"{truth}-{number}", "row": 0, "time": moment}
            answer = truth if number < right else 1 - truth
            predictions.append(key | {"version": 2, "outputs": {"label": answer}})
            labels.append(key | {"metric": "label", "value": truth})
    ship_rows(file_lake, spool, "prediction", predictions)
    ship_rows(file_lake, spool, "feedback", labels)
    with calculated(file_lake, Config()) as (_, quality):
        measures = by_name(quality.windows[0].measured.measures)
    for name in ("precision", "recall", "macro_f1"):
        assert (measures[name].low is not None) == has_interval
    assert measures["accuracy"].low is not None


def test_many_cells(file_lake: Lake, spool: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many pairs of truth and answer to draw them again, macro averages have no interval."""
    monkeypatch.setattr("monitor.measures.MAX_RESAMPLED_CELLS", 3)
    publish(workspace / "models", 2, WINE)
    pairs = [(truth, answer) for truth in (0, 1) for answer in (0, 1) for _ in range(10)]
    ship_pairs(file_lake, spool, pairs)
    with calculated(file_lake, Config()) as (_, quality):
        measures = by_name(quality.windows[-1].measured.measures)
    assert (measures["macro_f1"].value, measures["macro_f1"].low) == (0.5, None)
    assert measures["accuracy"].low is not None


def test_averages() -> None:
    """With many classes and pairs, averages are those of scikit-learn, in a fraction of the memory."""
    random = np.random.default_rng(1)
    truth = random.integers(0, 1000, 50_000)
    predicted = np.where(random.random(50_000) < 0.5, truth, random.integers(0, 1000, 50_000))
    table = np.ones((1, 50_000))
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    found = {name: figure(table)[0] for name, figure in averages(truth, predicted).items()}
    assert found == pytest.approx(
        {
            "precision": metrics.precision_score(truth, predicted, **macro),
            "recall": metrics.recall_score(truth, predicted, **macro),
            "macro_f1": metrics.f1_score(truth, predicted, **macro),
        }
    )
