"""Drift: the values of requests and answers are counted by the bins of the model's baseline."""

import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto

from app import create_app
from app.errors import ModelError
from app.model.onnx_model import Model, load, open_package
from app.observability.drift import MAX_VALUES, Drift
from app.settings import Settings
from tests import models
from tests.conftest import MakeClient, write_package

EDGES = {"edges": [0, 1, 2.5], "shares": [0.25, 0.75]}
BASELINE = {
    "features": {"b": EDGES, "a": {"edges": [-1.5, 0, 1, 10], "shares": [0.1, 0.2, 0.7]}},
    "outputs": {"y": {"categories": [1, 3], "shares": [0.5, 0.5]}},
}


def make(path: Path, baseline: Any, model: bytes | None = None, **manifest: Any) -> Model:
    """A loaded model with a baseline."""
    write_package(path, model or models.affine(), baseline=baseline, **manifest)
    return load(open_package(path), Settings(web_concurrency=1).resolved(1))


def counted(drift: Drift, *calls: tuple[dict[str, Any], dict[str, Any]]) -> dict[tuple[str, str], int]:
    """The counts that are not 0, by name and bin."""
    for call in calls:
        drift.add(*([value] for value in call))
    counts = drift.count()
    return {(item.name, item.label): n for item, n in zip(drift.bins, counts.tolist(), strict=True) if n}


def test_columns(tmp_path: Path) -> None:
    """Every value of a named column is in one bin; the last one has its upper edge too."""
    drift = Drift(make(tmp_path, BASELINE, features=["a", "b"]))
    a = np.array([-1.5, -1.6, 0, 10, 10.1, np.nan, np.inf, -np.inf, 0.5], np.float32)
    b = np.array([0, 0.5, 1, 2.5, 2.6, np.nan, np.inf, -np.inf, -0.1], np.float32)
    first, second = np.split(np.stack([a, b], axis=1), [3])
    y = {"y": np.array([[1, 3], [2, np.nan]], np.float32)}
    assert counted(drift, ({"x": first}, y), ({"x": second}, y)) == {
        ("a", "-1.5..0"): 1,
        ("a", "0..1"): 2,
        ("a", "1..10"): 1,
        ("a", "missing"): 1,
        ("a", "outside"): 4,
        ("b", "0..1"): 2,
        ("b", "1..2.5"): 2,
        ("b", "missing"): 1,
        ("b", "outside"): 4,
        ("y", "1"): 2,
        ("y", "3"): 2,
        ("y", "missing"): 2,
        ("y", "outside"): 2,
    }


def test_order_in_memory(tmp_path: Path) -> None:
    """A transform may give an array whose columns come first in memory."""
    drift = Drift(make(tmp_path, BASELINE, features=["a", "b"]))
    rows = np.array([[0, 0.5], [5, 2], [5, 2]], np.float32)
    assert counted(drift, ({"x": np.asfortranarray(rows)}, {})) == {
        ("a", "0..1"): 1,
        ("a", "1..10"): 2,
        ("b", "0..1"): 1,
        ("b", "1..2.5"): 2,
    }


def test_agrees_with_numpy(tmp_path: Path) -> None:
    """Random values are counted as `numpy.histogram` counts them."""
    numbers = np.random.default_rng(0)
    names = [f"f{i}" for i in range(5)]
    edges = [np.unique(numbers.normal(size=size).astype(np.float32)) for size in (2, 5, 11, 3, 8)]
    baseline = {
        "features": {
            name: {"edges": edge.astype(float).tolist(), "shares": [1 / (len(edge) - 1)] * (len(edge) - 1)}
            for name, edge in zip(names, edges, strict=True)
        }
    }
    model = models.identity(TensorProto.FLOAT, ("n", 5))
    drift = Drift(make(tmp_path, baseline, model, features=names))
    rows = numbers.normal(size=(1000, 5)).astype(np.float32)
    rows[:11, 2] = edges[2]
    for i in range(0, 1000, 7):
        drift.add([{"x": rows[i : i + 7]}], [{}])
    counts = drift.count()
    for name, edge, column in zip(names, edges, rows.T, strict=True):
        own = [n for item, n in zip(drift.bins, counts, strict=True) if item.name == name]
        expected, _ = np.histogram(column, edge)
        assert own[:-2] == expected.tolist()
        assert sum(own) == 1000


def test_edges_between_floats(tmp_path: Path) -> None:
    """An edge that no 32-bit number is equal to has the ones beside it on the right sides."""
    edges = np.array([-1e300, -0.3, 0.1, 0.7, 16777217, 3e38])
    with np.errstate(over="ignore"):
        near = edges.astype(np.float32)
    values = np.concatenate(
        [near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))]
    )
    assert not {*near.astype(float)} & {*edges}
    feature = {"edges": edges.tolist(), "shares": [0.2] * 5}
    drift = Drift(make(tmp_path, {"features": {"x": feature}}, models.identity(TensorProto.FLOAT)))
    drift.add([{"x": values}, {"x": values}], [{}, {}])
    finite = values[np.isfinite(values)].astype(float)
    expected = (2 * np.histogram(finite, edges)[0]).tolist()
    assert drift.count().tolist() == [*expected, 0, 2 * len(values) - sum(expected)]


@pytest.mark.parametrize(
    ("datatype", "value", "member", "counts"),
    [
        (TensorProto.STRING, np.array(["a", "c", "a"], object), {"categories": ["a", "b"]}, [2, 0, 0, 1]),
        (TensorProto.BOOL, np.array([True, True, False]), {"categories": [False, True]}, [1, 2, 0, 0]),
        (TensorProto.INT64, np.array([2**40, 1, 7]), {"edges": [0, 5, 2**41]}, [1, 2, 0, 0]),
        (TensorProto.FLOAT16, np.array([1, np.nan], np.float16), {"edges": [0, 5, 6]}, [1, 0, 1, 0]),
    ],
)
def test_inputs(tmp_path: Path, datatype: int, value: Any, member: dict[str, Any], counts: list[int]) -> None:
    """A feature may be a whole input, of numbers, strings or booleans."""
    baseline = {"features": {"x": member | {"shares": [0.5, 0.5]}}}
    drift = Drift(make(tmp_path, baseline, models.identity(datatype)))
    drift.add([{"x": value}], [{}])
    assert drift.pending_bytes > 0
    assert drift.count().tolist() == counts
    drift.add([{}], [{}])
    assert drift.pending_bytes == 0
    assert drift.count().tolist() == [0, 0, 0, 0]
    drift.add([{}, {"x": value}, {}], [{}, {}, {}])
    assert drift.count().tolist() == counts


@pytest.mark.parametrize(
    "value", [[{0: 0.5, 1: 2.0}, {0: 0.5, 1: 9.0}], {"a": 0.5, "b": 0.5, "c": 1.5, "d": 9.0}, []]
)
def test_sequences_and_maps(tmp_path: Path, value: Any) -> None:
    """All numbers of a ZipMap's output are counted together."""
    drift = Drift(make(tmp_path, {"outputs": {"y": EDGES}}, models.sequence()))
    drift.add([{}], [{"y": value}])
    assert drift.count().tolist() == ([2, 1, 0, 1] if value else [0, 0, 0, 0])


def test_other_width(tmp_path: Path) -> None:
    """A model that takes rows of any width is counted where its columns are those that have names."""
    model = models.identity(TensorProto.FLOAT, ("n", "width"))
    drift = Drift(make(tmp_path, {"features": {"b": EDGES}}, model, features=["a", "b"]))
    wide, fitting = np.zeros((1, 3), np.float32), np.zeros((2, 2), np.float32)
    drift.add([{"x": wide}], [{}])
    assert drift.count().sum() == 0
    drift.add([{"x": wide}], [{}])
    drift.add([{"x": fitting}], [{}])
    assert drift.count().tolist() == [2, 0, 0, 0]


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ([], "expected an object"),
        ({}, "expected 1 to 10000 bins, got 0"),
        ({"features": {"z": EDGES}}, "feature 'z' is none of the model's, a, b, x"),
        ({"outputs": {"x": EDGES}}, "output 'x' is none of the model's, y"),
        ({"features": []}, "expected features to be an object"),
        ({"outputs": {"y": {"edges": [1, 0], "shares": [1]}}}, "output 'y': expected edges to be ascending"),
        ({"outputs": {"y": {"edges": [0, "1"], "shares": [1]}}}, "expected edges to be ascending numbers"),
        ({"outputs": {"y": {"edges": [0, 1], "shares": [0.5]}}}, "numbers that add up to 1"),
        ({"outputs": {"y": {"edges": [0, 1], "shares": [0.5, 0.5]}}}, "a share for each of 1 bins, got 2"),
        ({"outputs": {"y": {"edges": [0], "shares": []}}}, "two or more edges or categories"),
        ({"outputs": {"y": {**EDGES, "categories": [1]}}}, "either two or more edges or categories"),
        ({"outputs": {"y": {"categories": [[]], "shares": [1]}}}, "strings, numbers or booleans"),
        ({"outputs": {"y": {"categories": ["a", "a"], "shares": [0.5, 0.5]}}}, "different categories"),
        ({"outputs": {"y": {"categories": ["missing"], "shares": [1]}}}, "of different names"),
        ({"outputs": {"y": {"categories": ["a" * 101], "shares": [1]}}}, "at most 100 characters"),
        ({"outputs": {"y": {"categories": [3, 3.0], "shares": [0.5, 0.5]}}}, "different categories"),
        ({"outputs": {"y": {"edges": [0, 10**400], "shares": [1]}}}, "edges to be ascending numbers"),
        ({"outputs": {"y": {"edges": [2**53, 2**53 + 1], "shares": [1]}}}, "edges to be ascending numbers"),
        (
            {"outputs": {"y": {"categories": list(range(10_000)), "shares": [1e-4] * 10_000}}},
            "expected 1 to 10000 bins, got 10002",
        ),
    ],
)
def test_bad_baseline(tmp_path: Path, baseline: Any, words: str) -> None:
    """A baseline that is none, or not the model's, stops the start and says what is wrong."""
    model = make(tmp_path, baseline, features=["a", "b"])
    with pytest.raises(ModelError, match=re.escape(words)):
        Drift(model)


def test_edges_of_strings(tmp_path: Path) -> None:
    """Strings have categories."""
    model = make(tmp_path, {"features": {"x": EDGES}}, models.identity(TensorProto.STRING))
    with pytest.raises(ModelError, match="edges for feature 'x', a string"):
        Drift(model)


def test_many_values(tmp_path: Path) -> None:
    """Of a very large request an even share is counted."""
    drift = Drift(make(tmp_path, {"features": {"b": EDGES}}, features=["a", "b"]))
    rows = np.zeros((10 * MAX_VALUES, 2), np.float32)
    rows[: 5 * MAX_VALUES] = 2
    drift.add([{"x": rows}], [{}])
    first, second, *_ = drift.count().tolist()
    assert 0 < first == second <= MAX_VALUES


def test_tried_out(tmp_path: Path) -> None:
    """Bins that the values of the samples cannot be held against stop the start."""
    baseline = {"outputs": {"y": {"categories": ["a"], "shares": [1]}}}
    model = make(tmp_path, baseline, models.identity(TensorProto.BFLOAT16))
    with pytest.raises(ModelError, match="cannot be counted by the baseline"):
        Drift(model).check_baseline(model, [{"x": np.zeros(2, ml_dtypes.bfloat16)}])


@pytest.fixture
def client(tmp_path: Path, door: MakeClient) -> FlaskClient:
    """A client of a service with a baseline."""
    write_package(tmp_path / "m", models.affine(), baseline=BASELINE, features=["a", "b"])
    return door(create_app(Settings(model_path=tmp_path / "m", web_concurrency=1)))


def test_metrics(client: FlaskClient) -> None:
    """What is counted, and what the baseline expects, stands in the metrics; a refused request does not."""
    client.post("/score", json={"instances": [{"a": 0.5, "b": 1}, {"a": 50, "b": None}]})
    client.post("/score", json={"inputs": [[0, 0]]})
    client.post("/score", json={"inputs": [[0, 0, 0]]})
    lines = client.get("/metrics").text.splitlines()
    assert 'model_feature_bin_total{bin="0..1",feature="a"} 2.0' in lines
    assert 'model_feature_bin_total{bin="outside",feature="a"} 1.0' in lines
    assert 'model_feature_bin_total{bin="missing",feature="b"} 1.0' in lines
    assert 'model_output_bin_total{bin="3",output="y"} 1.0' in lines
    assert 'model_feature_expected_ratio{bin="1..10",feature="a"} 0.7' in lines
    assert 'model_output_expected_ratio{bin="outside",output="y"} 0.0' in lines
