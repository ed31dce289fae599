"""The canary gate in simulated watches, in short form."""

import math

import pytest

from benchmarks.gate import interval, main, score_bins
from release.output_check import split_bins


def test_promises(capsys: pytest.CaptureFixture[str]) -> None:
    """Equal canaries pass, worse ones are rejected, and the table has an interval for each."""
    assert main(["--short"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("CANARY ")
    assert lines[-3].startswith("all equal canaries")
    assert lines[-1].endswith("promises kept")
    assert all(line.count(" to ") == 1 for line in lines[1:-2])


@pytest.mark.parametrize(("cases", "total"), [(0, 50), (7, 50), (50, 50)])
def test_interval(cases: int, total: int) -> None:
    """At each end of the interval, what was observed or less likely has a probability of 2.5 %."""
    low, high = interval(cases, total)
    assert low <= cases / total <= high

    def probability(numbers: range, rate: float) -> float:
        return sum(math.comb(total, k) * rate**k * (1 - rate) ** (total - k) for k in numbers)

    if cases:
        assert probability(range(cases, total + 1), low) == pytest.approx(0.025, abs=1e-6)
    if cases < total:
        assert probability(range(cases + 1), high) == pytest.approx(0.025, abs=1e-6)


def test_score_bins() -> None:
    """The names of the simulated bins are those of numeric bins."""
    assert len(split_bins(score_bins())) == 9
