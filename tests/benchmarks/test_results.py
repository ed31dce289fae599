"""Tests of the benchmark's results and their page."""

from typing import Any

import numpy as np
import pytest

from benchmarks.peer import PEERS
from benchmarks.results import SECTIONS, capacity, digits, merge, page, ranked, spread
from benchmarks.suites import SUITES, cell_of

ABOUT = {"date": "2026-01-02", "runs": 3, "seconds": 5}


def cells(rps: float) -> dict[str, dict[str, list[float]]]:
    """Return the cells of one peer in the suite `throughput`."""
    values = {"rps": [rps, rps - 20, rps + 10], "p50_ms": [0.5] * 3, "p99_ms": [1.5] * 3}
    return dict.fromkeys(("1", "8", "64"), values)


@pytest.fixture
def document() -> dict[str, Any]:
    """The results of one suite and two peers."""
    about = {
        "machine": {"cpu": "A CPU", "cpus": 2, "system": "A system"},
        "versions": {"flask": {"flask": "3"}},
    }
    return merge(about, "throughput", {"flask": cells(900), "service": cells(1000)}, ABOUT)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([3.0, 1.0, 2.0], "2.00 (1.00–3.00)"),
        ([1234.5], "1234 (1234–1234)"),
        ([0.05123], "0.0512 (0.0512–0.0512)"),
        ([], ""),
        (None, ""),
    ],
)
def test_spread(values: list[float] | None, text: str) -> None:
    """A cell has median, minimum and maximum; without values it is empty."""
    assert spread(values) == text


def test_digits() -> None:
    """Large numbers are not printed in scientific notation."""
    assert [digits(value) for value in (99.96, 100.0, 20480.4)] == ["100", "100", "20480"]


def test_merge(document: dict[str, Any]) -> None:
    """Running a suite again for one peer replaces that peer's numbers only."""
    merged = merge(document, "throughput", {"flask": cells(500)}, ABOUT | {"runs": 5})
    merged = merge(merged, "start", {"flask": {"": {"first_answer_s": [0.2]}}}, ABOUT)
    assert capacity(merged) == {"flask": 500, "service": 1000}
    assert merged["suites"]["throughput"]["runs"] == 5
    assert set(merged["suites"]) == {"throughput", "start"}
    assert capacity(document)["flask"] == 900


def test_ranked(document: dict[str, Any]) -> None:
    """The peer with the highest throughput is first; a peer without the cell is last."""
    peers = document["suites"]["throughput"]["peers"] | {"mlflow": {"8": {"rps": [9999.0]}}}
    assert ranked("throughput", peers) == ["service", "flask", "mlflow"]


def test_page(document: dict[str, Any]) -> None:
    """The page has a table per metric with Scorebox in bold, the chart, and the versions."""
    text = page(document, {"throughput": "throughput.png"})
    assert "| **Scorebox** | **1000 (980–1010)** |" in text
    assert "| Flask by hand | 900 (880–910) |" in text
    assert "2026-01-02, 3 runs of 5 s." in text
    assert "![Throughput](throughput.png)" in text
    assert "| Flask by hand | flask 3 |" in text


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_has_a_section(name: str) -> None:
    """Every suite has a section with columns for all of its setups."""
    labels = {cell.split(" ")[0] for cell in SECTIONS[name].cells}
    assert all(cell_of(label, "").split(" ")[0] in labels for label in SUITES[name].setups if label)


@pytest.mark.parametrize("name", PEERS)
def test_formats(name: str) -> None:
    """Every peer's request contains the input's numbers."""
    inputs = [[1.5, -2.0]]
    for kind, request_format in PEERS[name].formats.items():
        headers, body = request_format.encode(inputs)
        if kind == "binary":
            assert body.endswith(np.array([1.5, -2.0], np.float32).tobytes())
        else:
            assert headers["content-type"] == "application/json"
            assert b"1.5, -2.0" in body
