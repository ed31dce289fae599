"""The challenger's gate in simulated evaluations, in short form."""

import numpy as np
import pytest

from benchmarks.challenger import Scenario, count_passed, main


def test_promises(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal models do not pass, better ones do, and the table has an interval for each."""
    monkeypatch.setattr("benchmarks.challenger.ROWS", (2_000,))
    monkeypatch.setattr("benchmarks.challenger.SHORT_PAIRS", 100)
    assert main(["--short"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("THE CHALLENGER IS ")
    assert lines[-1].endswith("promises kept")
    assert all(line.count(" to ") == 1 for line in lines[1:-2])


def test_worse_models() -> None:
    """A model that is worse does not pass."""
    worse = Scenario(2_000, 0.9, gain=-0.05)
    assert count_passed(worse, 100, np.random.default_rng(1)) == 0
