"""Drift: the bins of the model's baseline as metrics, and which requests are counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry

from app import create_app
from app.model.onnx_model import load, open_package
from app.observability.drift import BURST_REQUESTS, REQUESTS_PER_S, Drift
from app.observability.request_record import RequestRecord
from app.serving.lifecycle import announce
from app.settings import Settings
from tests import models
from tests.conftest import MakeClient, write_package

BASELINE = {
    "rows": 40,
    "features": {
        "b": {"edges": [0, 1, 2.5], "shares": [0.25, 0.75]},
        "a": {"edges": [-1.5, 0, 1, 10], "shares": [0.1, 0.2, 0.7]},
    },
    "outputs": {"y": {"categories": [1, 3], "shares": [0.5, 0.5], "missing": 0.25, "outside": 0.25}},
}
BATCH = 64


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "m", models.affine(), baseline=BASELINE, features=["a", "b"])


def test_metrics(package: Path, make_client: MakeClient) -> None:
    """The metrics have the counts and the baseline's shares; a refused request is not counted."""
    client: FlaskClient = make_client(create_app(Settings(model_path=package, web_concurrency=1)))
    client.post("/score", json={"instances": [{"a": 0.5, "b": 1}, {"a": 50, "b": None}]})
    client.post("/score", json={"inputs": [[0, 0]]})
    client.post("/score", json={"inputs": [[0, 0, 0]]})
    lines = client.get("/metrics").text.splitlines()
    assert 'model_feature_bin_total{bin="0..1",feature="a"} 2.0' in lines
    assert 'model_feature_bin_total{bin="outside",feature="a"} 1.0' in lines
    assert 'model_feature_bin_total{bin="missing",feature="b"} 1.0' in lines
    assert 'model_output_bin_total{bin="3",output="y"} 1.0' in lines
    assert 'model_feature_expected_ratio{bin="1..10",feature="a"} 0.7' in lines
    assert 'model_feature_expected_ratio{bin="outside",feature="a"} 0.0' in lines
    assert 'model_output_expected_ratio{bin="3",output="y"} 0.25' in lines
    assert 'model_output_expected_ratio{bin="missing",output="y"} 0.25' in lines
    assert 'model_output_expected_ratio{bin="outside",output="y"} 0.25' in lines
    assert "model_baseline_rows 40.0" in lines
    assert "model_drift_rows_total 3.0" in lines


@pytest.mark.parametrize("field", [{"pii": True}, {"pii": "hash"}, {"capture": False}])
def test_withheld(tmp_path: Path, make_client: MakeClient, field: dict[str, Any]) -> None:
    """A bin is a value of the training data: no metric and no page has those of a withheld column."""
    withheld = {"type": "number", **field}
    schema = {"features": {"a": withheld}, "outputs": {"y": withheld}}
    package = write_package(
        tmp_path / "m", models.affine(), baseline=BASELINE, schema=schema, features=["a", "b"]
    )
    client = make_client(create_app(Settings(model_path=package, web_concurrency=1)))
    client.post("/score", json={"instances": [{"a": 0.5, "b": 1}]})
    text = client.get("/metrics").text
    assert 'model_feature_bin_total{bin="1..2.5",feature="b"} 1.0' in text
    assert 'bin="1..10"' not in text
    assert "model_output_bin_total{" not in text
    shown = client.get("/recent/data").get_json()["distributions"]
    assert [(each["kind"], each["name"]) for each in shown] == [("feature", "b")]


class Clock:
    """The monotonic clock, set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Observed:
    """A drift observer with a clock of its own, and how many requests it has counted."""

    def __init__(self, package: Path, clock: Clock) -> None:
        self.clock = clock
        self.registry = CollectorRegistry()
        model = load(open_package(package), Settings(web_concurrency=1).resolved(1))
        self.drift = Drift(model, self.registry)
        inputs = {"x": np.zeros((1, 2), np.float32)}
        self.answered = RequestRecord("a", 0.0, "/score", inputs=inputs, outputs=model.infer(inputs))
        self.refused = RequestRecord("b", 0.0, "/score", status=400)

    def counted(self) -> float:
        """Return the number of requests counted so far."""
        labels: dict[str, Any] = {"feature": "a", "bin": "0..1"}
        return self.registry.get_sample_value("model_feature_bin_total", labels) or 0.0


@pytest.fixture
def observed(package: Path, monkeypatch: pytest.MonkeyPatch) -> Observed:
    clock = Clock()
    monkeypatch.setattr("app.observability.drift.monotonic", clock)
    return Observed(package, clock)


def test_burst(observed: Observed) -> None:
    """A burst is counted whole, and after a quiet time the next one is too."""
    for burst in (1, 2):
        for _ in range(BURST_REQUESTS // BATCH):
            observed.drift([observed.answered] * BATCH)
        assert observed.counted() == burst * BURST_REQUESTS
        observed.drift([observed.answered])
        assert observed.counted() == burst * BURST_REQUESTS
        observed.clock.now += BURST_REQUESTS / REQUESTS_PER_S


def test_sample(observed: Observed) -> None:
    """Beyond the burst the number of requests per second is limited, however many there are."""
    for _ in range(10 * BURST_REQUESTS // BATCH):
        observed.drift([observed.answered] * BATCH)
    before = observed.counted()
    seconds = 100
    for _ in range(seconds * 1000 // BATCH):
        observed.drift([observed.answered] * BATCH)
        observed.clock.now += BATCH / 1000
    per_second = (observed.counted() - before) / seconds
    assert 0.9 * REQUESTS_PER_S < per_second < 1.1 * REQUESTS_PER_S


def test_refused_requests(observed: Observed) -> None:
    """Requests that the model did not answer take nothing from the sample."""
    for _ in range(2 * BURST_REQUESTS // BATCH):
        observed.drift([observed.refused] * BATCH)
    observed.drift([observed.refused, observed.answered, observed.answered])
    assert observed.counted() == 2


def test_no_rows(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a baseline that does not say its rows, drift is counted, and the start says what is missing."""
    baseline = {name: value for name, value in BASELINE.items() if name != "rows"}
    write_package(package, models.affine(), baseline=baseline, features=["a", "b"])
    app = create_app(Settings(model_path=package, web_concurrency=1))
    registry = app.extensions["service"].metrics.registry
    assert "model_baseline_rows" not in {family.name for family in registry.collect()}
    announce(app.extensions["service"], port=8080)
    assert "baseline.json has no rows: drift is counted, but there are no alerts" in caplog.text


def test_no_baseline(package: Path) -> None:
    """Without a baseline nothing is counted, and there are no metrics."""
    (package / "baseline.json").unlink()
    write_package(package, models.affine(), features=["a", "b"])
    model = load(open_package(package), Settings(web_concurrency=1).resolved(1))
    registry = CollectorRegistry()
    Drift(model, registry)([RequestRecord("a", 0.0, "/score", inputs={}, outputs={})])
    assert list(registry.collect()) == []
