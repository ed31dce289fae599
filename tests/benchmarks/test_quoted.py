"""The figures that README and docs quote are those of the results that they link to."""

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"benchmarks/results/(\d{4}-\d\d-\d\d)/README\.md")


def paragraph(page: str, words: str) -> str:
    """Return the paragraph, or row of a table, that has some words."""
    text = (ROOT / page).read_text()
    (found,) = (part for part in re.split(r"\n\n|\n(?=\|)", text) if words in part)
    return " ".join(found.split())


def results(text: str, suite: str) -> dict[str, Any]:
    """Return peer → cell → metric → values of a suite, from the results that a paragraph links to."""
    match = LINK.search(text)
    assert match, text
    document = json.loads((ROOT / "benchmarks/results" / match[1] / "results.json").read_text())
    peers: dict[str, Any] = document["suites"][suite]["peers"]
    return peers


def number(text: str, pattern: str) -> float:
    """Return the number that a pattern finds in a text."""
    match = re.search(pattern, text)
    assert match, (pattern, text)
    return float(match[1].replace(",", ""))


def test_throughput() -> None:
    """Requests per second of one core, and how many times those of FastAPI they are."""
    text = paragraph("README.md", "**Speed.**")
    peers = results(text, "throughput")
    ours, fastapi = (median(peers[name]["8"]["rps"]) for name in ("service", "fastapi"))
    assert number(text, r"answers ([\d,]+) requests per second") == pytest.approx(ours, abs=1)
    assert number(text, r"([\d.]+) times a hand-written FastAPI") == pytest.approx(ours / fastapi, abs=0.05)


def test_capacity() -> None:
    """The number of pods is planned by the same figure, at the autoscaler's share of the CPU."""
    text = paragraph("docs/operations.md", "so a pod is planned for")
    cell = results(text, "throughput")["service"]["8"]
    rps = number(text, r"answers ([\d,]+) requests per second")
    assert rps == pytest.approx(median(cell["rps"]), abs=1)
    planned = number(text, r"a pod is planned for ([\d,]+)")
    assert planned == pytest.approx(rps * number(text, r"CPU at (\d+) %") / 100, rel=0.01)
    following = paragraph("docs/operations.md", "mean 4 in flight")
    assert number(following, r"at ([\d.]+) ms each") == pytest.approx(median(cell["p50_ms"]), abs=0.01)


def test_capture() -> None:
    """What capture of all rows costs."""
    text = paragraph("docs/data.md", "All rows of the 300-tree model captured")
    (cells,) = results(text, "captured").values()
    assert 1 - median(cells["on"]["share"]) == pytest.approx(0.1, abs=0.02)  # "a tenth"
    assert number(text, r"p99 is ([\d.]+) times") == pytest.approx(median(cells["on"]["p99_share"]), abs=0.01)
