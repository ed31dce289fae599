"""What the benchmark makes of its values."""

from typing import Any

import numpy as np
import pytest

from benchmarks.peer import PEERS
from benchmarks.results import SHOWN, capacity, digits, merge, page, ranked, spread
from benchmarks.suites import SUITES, cell_of

ABOUT = {"date": "2026-01-02", "runs": 3, "seconds": 5}


def cells(rps: float) -> dict[str, dict[str, list[float]]]:
    """What `throughput` finds for one peer."""
    values = {"rps": [rps, rps - 20, rps + 10], "p50_ms": [0.5] * 3, "p99_ms": [1.5] * 3}
    return dict.fromkeys(("1", "8", "64"), values)


@pytest.fixture
def document() -> dict[str, Any]:
    """Results of one suite and two peers."""
    about = {
        "machine": {"cpu": "A CPU", "cpus": 2, "system": "A system"},
        "versions": {"flask": {"flask": "3"}},
    }
    return merge(about, "throughput", {"flask": cells(900), "scorebox": cells(1000)}, ABOUT)


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
    """A cell has the median, the least and the greatest; an empty one stays empty."""
    assert spread(values) == text


def test_digits_of_a_hundred() -> None:
    """Nothing is printed in scientific notation."""
    assert [digits(value) for value in (99.96, 100.0, 20480.4)] == ["100", "100", "20480"]


def test_merge_keeps_others(document: dict[str, Any]) -> None:
    """A suite that is run again for one peer replaces that peer's numbers, and no others."""
    merged = merge(document, "throughput", {"flask": cells(500)}, ABOUT | {"runs": 5})
    merged = merge(merged, "start", {"flask": {"": {"first_answer_s": [0.2]}}}, ABOUT)
    assert capacity(merged) == {"flask": 500, "scorebox": 1000}
    assert merged["suites"]["throughput"]["runs"] == 5
    assert set(merged["suites"]) == {"throughput", "start"}
    assert capacity(document)["flask"] == 900


def test_ranked_puts_the_best_first(document: dict[str, Any]) -> None:
    """Most requests a second are first, and who has no cell is last."""
    peers = document["suites"]["throughput"]["peers"] | {"mlflow": {"8": {"rps": [9999.0]}}}
    assert ranked("throughput", peers) == ["scorebox", "flask", "mlflow"]


def test_page(document: dict[str, Any]) -> None:
    """The page has a table a metric, Scorebox in bold, the chart, and versions."""
    text = page(document, {"throughput": "throughput.png"})
    assert "| **Scorebox** | **1000 (980–1010)** |" in text
    assert "| Flask by hand | 900 (880–910) |" in text
    assert "2026-01-02, 3 runs of 5 s." in text
    assert "![Throughput](throughput.png)" in text
    assert "| Flask by hand | flask 3 |" in text


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_is_shown(name: str) -> None:
    """Every suite has its section, whose columns begin with the labels of its setups."""
    shown = {cell.split(" ")[0] for cell in SHOWN[name].cells}
    assert all(cell_of(label, "").split(" ")[0] in shown for label in SUITES[name].setups if label)


@pytest.mark.parametrize("name", PEERS)
def test_formats(name: str) -> None:
    """Every peer's request carries the input's numbers."""
    inputs = [[1.5, -2.0]]
    for kind, how in PEERS[name].formats.items():
        headers, body = how.encode(inputs)
        if kind == "binary":
            assert body.endswith(np.array([1.5, -2.0], np.float32).tobytes())
        else:
            assert headers["content-type"] == "application/json"
            assert b"1.5, -2.0" in body
