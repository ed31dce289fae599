"""The figures that README and docs quote are those of the results that they link to."""

import json
import math
import re
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from scripts.docs import PAGES

ROOT = Path(__file__).parents[2]
SIMULATIONS = ROOT / "benchmarks/results/simulations"
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


def printed(name: str) -> dict[tuple[str, ...], list[list[str]]]:
    """Return header → rows of the tables that a command has printed."""
    found = {}
    for block in (SIMULATIONS / f"{name}.txt").read_text().split("\n\n"):
        header, *lines = block.splitlines()
        starts = [match.start() for match in re.finditer(r"(?:^|(?<=  ))\S", header)]
        ends = [*starts[1:], None]
        rows = [
            [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
            for line in (header, *lines)
        ]
        if lines:
            found[tuple(cell.lower() for cell in rows[0])] = rows[1:]
    return found


def quoted(page: str) -> dict[tuple[str, ...], list[list[str]]]:
    """Return header → rows of a page's tables."""
    found = {}
    for block in re.findall(r"^\|.*\n\|[-:|]+\n(?:\|.*\n)+", page, re.MULTILINE):
        header, _, *rows = (
            [cell.strip(" `*") for cell in line.strip("|").split("|")] for line in block.splitlines()
        )
        found[tuple(cell.lower() for cell in header)] = rows
    return found


@pytest.mark.parametrize("name", sorted(path.stem for path in SIMULATIONS.glob("*.txt")))
def test_tables(name: str) -> None:
    """A page links to the output of a command, and its tables with the same header have the same rows."""
    assert (SIMULATIONS / f"{name}.txt").read_text().startswith(f"$ python -m benchmarks.{name}\n\n")
    pages = [text for path in PAGES if f"/simulations/{name}.txt)" in (text := path.read_text())]
    assert pages, f"no page links to {name}.txt"
    for page in pages:
        expected, found = printed(name), quoted(page)
        headers = expected.keys() & found.keys()
        assert headers, f"no table has the header of one in {name}.txt"
        for header in headers:
            assert found[header] == expected[header]


def test_drift() -> None:
    """How often drift alerts without a shift, and what it finds of missing values."""
    text = paragraph("docs/models.md", "feature-years without a shift")
    alerts, _, missing = printed("drift").values()
    years = sum(number(row[3], r"^0 in ([\d.]+)$") for row in alerts)
    assert number(text, r"In (\d+) feature-years") == pytest.approx(years)
    # The upper 95 % bound of the mean of a Poisson distribution whose sample is 0.
    most = number(text, r"at most ([\d.]+) in a feature-year")
    assert most == pytest.approx(-math.log(0.05) / years, abs=0.005)
    shares = [number(row[2], r"^(\d+) %") for row in missing]
    assert number(text, r"in (\d+) to \d+ %") == min(shares)
    assert number(text, r"in \d+ to (\d+) %") == max(shares)


def test_equal_challengers() -> None:
    """How many models pass by chance in a year of daily trainings."""
    (rows,) = printed("challenger").values()
    equal = [cell for name, *cells in rows if name.startswith("equal") for cell in cells]
    assert "some nine a year" in paragraph("docs/models.md", "Each training has a chance")
    passed = median(number(cell, r"^([\d.]+) %") for cell in equal)
    assert 365 * passed / 100 == pytest.approx(9, abs=0.5)


def test_single_look() -> None:
    """How often a binomial test that looks once, at a quarter of `alpha`, finds 5 % of errors, not 1 %."""

    def at_least(cases: int, rate: float) -> float:
        return sum(math.comb(300, k) * rate**k * (1 - rate) ** (300 - k) for k in range(cases, 301))

    critical = next(cases for cases in range(301) if at_least(cases, 0.01) <= 0.01 / 4)
    found = number(paragraph("docs/operations.md", "even a test that looks"), r"in (\d+) % of the watches")
    assert found == pytest.approx(100 * at_least(critical, 0.05), abs=0.5)


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
    assert "cost a seventh of the requests" in text
    assert 1 - median(cells["on"]["share"]) == pytest.approx(1 / 7, abs=0.01)
    assert number(text, r"p99 is ([\d.]+) times") == pytest.approx(median(cells["on"]["p99_share"]), abs=0.01)


def test_memory() -> None:
    """Memory of one worker and of four with a model of 192 MB."""
    text = paragraph("docs/models.md", "with a model of 192 MB")
    cells = results(text, "memory")["service"]
    assert number(text, r"([\d]+) MB with one worker") == pytest.approx(median(cells["1"]["pss_mb"]), abs=0.5)
    assert number(text, r"([\d]+) MB with four") == pytest.approx(median(cells["4"]["pss_mb"]), abs=0.5)


def test_start() -> None:
    """Time from the start of the process to its first response."""
    text = paragraph("docs/operations.md", "The first correct response")
    (values,) = (cell["first_answer_s"] for cell in results(text, "start")["service"].values())
    assert number(text, r"([\d.]+) s after the process") == pytest.approx(median(values), abs=0.005)
