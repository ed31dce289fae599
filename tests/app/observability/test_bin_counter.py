"""Values of requests and answers are counted by the bins of the model's baseline."""

import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from app.errors import ModelError
from app.model.onnx_model import Model, load, open_package
from app.observability.bin_counter import MAX_VALUES, BinCounter
from app.settings import Settings
from tests import models
from tests.conftest import write_package

EDGES = {"edges": [0, 1, 2.5], "shares": [0.25, 0.75]}
BASELINE = {
    "features": {"b": EDGES, "a": {"edges": [-1.5, 0, 1, 10], "shares": [0.1, 0.2, 0.7]}},
    "outputs": {"y": {"categories": [1, 3], "shares": [0.5, 0.5]}},
}


def make(path: Path, baseline: Any, model: bytes | None = None, **manifest: Any) -> Model:
    """Load a model with a baseline."""
    write_package(path, model or models.affine(), baseline=baseline, **manifest)
    return load(open_package(path), Settings(web_concurrency=1).resolved(1))


def counted(
    counter: BinCounter, *requests: tuple[dict[str, Any], dict[str, Any]]
) -> dict[tuple[str, str], int]:
    """Return the counts that are not 0, by name and bin."""
    counts = counter.count(*zip(*requests, strict=True))
    return {(item.name, item.label): n for item, n in zip(counter.bins, counts.tolist(), strict=True) if n}


def test_columns(tmp_path: Path) -> None:
    """Every value of a named column is in one bin; the last bin includes its upper edge."""
    counter = BinCounter(make(tmp_path, BASELINE, features=["a", "b"]))
    a = np.array([-1.5, -1.6, 0, 10, 10.1, np.nan, np.inf, -np.inf, 0.5], np.float32)
    b = np.array([0, 0.5, 1, 2.5, 2.6, np.nan, np.inf, -np.inf, -0.1], np.float32)
    first, second = np.split(np.stack([a, b], axis=1), [3])
    y = {"y": np.array([[1, 3], [2, np.nan]], np.float32)}
    assert counted(counter, ({"x": first}, y), ({"x": second}, y)) == {
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
    """A pre-processing hook may return an array in Fortran order."""
    counter = BinCounter(make(tmp_path, BASELINE, features=["a", "b"]))
    rows = np.array([[0, 0.5], [5, 2], [5, 2]], np.float32)
    assert counted(counter, ({"x": np.asfortranarray(rows)}, {})) == {
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
    counter = BinCounter(make(tmp_path, baseline, model, features=names))
    rows = numbers.normal(size=(1000, 5)).astype(np.float32)
    rows[:11, 2] = edges[2]
    requests = [{"x": rows[i : i + 7]} for i in range(0, 1000, 7)]
    counts = counter.count(requests, [{}] * len(requests))
    for name, edge, column in zip(names, edges, rows.T, strict=True):
        own = [n for item, n in zip(counter.bins, counts, strict=True) if item.name == name]
        expected, _ = np.histogram(column, edge)
        assert own[:-2] == expected.tolist()
        assert sum(own) == 1000


def test_edges_between_floats(tmp_path: Path) -> None:
    """Values next to an edge that is no 32-bit float are counted on the right side of it."""
    edges = np.array([-1e300, -0.3, 0.1, 0.7, 16777217, 3e38])
    with np.errstate(over="ignore"):
        near = edges.astype(np.float32)
    values = np.concatenate(
        [near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))]
    )
    assert not {*near.astype(float)} & {*edges}
    feature = {"edges": edges.tolist(), "shares": [0.2] * 5}
    counter = BinCounter(make(tmp_path, {"features": {"x": feature}}, models.identity(TensorProto.FLOAT)))
    counts = counter.count([{"x": values}, {"x": values}], [{}, {}])
    finite = values[np.isfinite(values)].astype(float)
    expected = (2 * np.histogram(finite, edges)[0]).tolist()
    assert counts.tolist() == [*expected, 0, 2 * len(values) - sum(expected)]


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
    counter = BinCounter(make(tmp_path, baseline, models.identity(datatype)))
    assert counter.count([{"x": value}], [{}]).tolist() == counts
    assert counter.count([{}], [{}]).tolist() == [0, 0, 0, 0]
    assert counter.count([{}, {"x": value}, {}], [{}, {}, {}]).tolist() == counts


@pytest.mark.parametrize(
    "value", [[{0: 0.5, 1: 2.0}, {0: 0.5, 1: 9.0}], {"a": 0.5, "b": 0.5, "c": 1.5, "d": 9.0}, []]
)
def test_sequences_and_maps(tmp_path: Path, value: Any) -> None:
    """All numbers of a ZipMap's output are counted together."""
    counter = BinCounter(make(tmp_path, {"outputs": {"y": EDGES}}, models.sequence()))
    assert counter.count([{}], [{"y": value}]).tolist() == ([2, 1, 0, 1] if value else [0, 0, 0, 0])


def test_other_width(tmp_path: Path) -> None:
    """If a model takes rows of any width, only rows as wide as the named columns are counted."""
    model = models.identity(TensorProto.FLOAT, ("n", "width"))
    counter = BinCounter(make(tmp_path, {"features": {"b": EDGES}}, model, features=["a", "b"]))
    wide, fitting = np.zeros((1, 3), np.float32), np.zeros((2, 2), np.float32)
    assert counter.count([{"x": wide}], [{}]).sum() == 0
    assert counter.count([{"x": wide}, {"x": fitting}], [{}, {}]).tolist() == [2, 0, 0, 0]


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ([], "expected an object"),
        ({}, "expected 1 to 10000 bins, got 0"),
        ({"features": {"z": EDGES}}, "the model has no feature 'z'; it has a, b, x"),
        ({"outputs": {"x": EDGES}}, "the model has no output 'x'; it has y"),
        ({"features": []}, "expected features to be an object"),
        ({"outputs": {"y": {"edges": [1, 0], "shares": [1]}}}, "output 'y': expected edges to be ascending"),
        ({"outputs": {"y": {"edges": [0, "1"], "shares": [1]}}}, "expected edges to be ascending numbers"),
        ({"outputs": {"y": {"edges": [0, 1], "shares": [0.5]}}}, "numbers of 0 or more that add up to 1"),
        (
            {"outputs": {"y": {"edges": [0, 1], "shares": [0.5, 0.5]}}},
            "expected 1 shares, one for each bin, got 2",
        ),
        ({"outputs": {"y": {"edges": [0], "shares": []}}}, "two or more edges or categories"),
        ({"outputs": {"y": {**EDGES, "categories": [1]}}}, "either two or more edges or categories"),
        ({"outputs": {"y": {**EDGES, "other": 1}}}, "and no others than missing and outside"),
        ({"outputs": {"y": {**EDGES, "missing": 1}}}, "shares that add up to less than 1"),
        ({"outputs": {"y": {**EDGES, "missing": 0.5, "outside": 0.5}}}, "shares that add up to less than 1"),
        ({"outputs": {"y": {**EDGES, "outside": "0.1"}}}, "expected missing and outside to be shares"),
        ({"rows": 0, "outputs": {"y": EDGES}}, "expected rows to be an integer of 1 or more, got 0"),
        ({"rows": True, "outputs": {"y": EDGES}}, "expected rows to be an integer of 1 or more, got True"),
        ({"rows": 1.5, "outputs": {"y": EDGES}}, "expected rows to be an integer of 1 or more, got 1.5"),
        ({"outputs": {"y": {"categories": [[]], "shares": [1]}}}, "strings, numbers or booleans"),
        ({"outputs": {"y": {"categories": ["a", "a"], "shares": [0.5, 0.5]}}}, "different categories"),
        ({"outputs": {"y": {"categories": ["missing"], "shares": [1]}}}, "bins with different names"),
        ({"outputs": {"y": {"categories": ["a" * 101], "shares": [1]}}}, "at most 100 characters"),
        ({"outputs": {"y": {"categories": [3, 3.0], "shares": [0.5, 0.5]}}}, "different categories"),
        ({"outputs": {"y": {"edges": [0, 10**400], "shares": [1]}}}, "has more than 64 bits"),
        ({"outputs": {"y": {"edges": [2**53, 2**53 + 1], "shares": [1]}}}, "edges to be ascending numbers"),
        (
            {"outputs": {"y": {"categories": list(range(10_000)), "shares": [1e-4] * 10_000}}},
            "expected 1 to 10000 bins, got 10002",
        ),
    ],
)
def test_bad_baseline(tmp_path: Path, baseline: Any, words: str) -> None:
    """A baseline that is malformed, or does not fit the model, stops the start."""
    model = make(tmp_path, baseline, features=["a", "b"])
    with pytest.raises(ModelError, match=re.escape(words)):
        BinCounter(model)


def test_edges_of_strings(tmp_path: Path) -> None:
    """Strings need categories."""
    model = make(tmp_path, {"features": {"x": EDGES}}, models.identity(TensorProto.STRING))
    with pytest.raises(ModelError, match="edges for feature 'x', a string"):
        BinCounter(model)


def test_many_values(tmp_path: Path) -> None:
    """Of a very large request evenly spaced rows are counted."""
    counter = BinCounter(make(tmp_path, {"features": {"b": EDGES}}, features=["a", "b"]))
    rows = np.zeros((10 * MAX_VALUES, 2), np.float32)
    rows[: 5 * MAX_VALUES] = 2
    first, second, *_ = counter.count([{"x": rows}], [{}]).tolist()
    assert 0 < first == second <= MAX_VALUES


def test_check_baseline(tmp_path: Path) -> None:
    """Bins that the model's values cannot be compared with stop the start."""
    baseline = {"outputs": {"y": {"categories": ["a"], "shares": [1]}}}
    model = make(tmp_path, baseline, models.identity(TensorProto.BFLOAT16))
    with pytest.raises(ModelError, match="cannot be counted by the baseline"):
        BinCounter(model).check_baseline(model, [{"x": np.zeros(2, ml_dtypes.bfloat16)}])
