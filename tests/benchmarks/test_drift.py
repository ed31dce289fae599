"""The simulation of the drift alerts, in a short form: what docs/models.md promises of them."""

import numpy as np
import pytest

from benchmarks.drift import (
    BASELINES,
    FEATURES,
    RATES,
    SEED,
    false_alerts,
    found_share,
    interval,
    main,
    most_alerts,
)
from model_loader.drafting.drift_limits import detectable_shift


def test_false_alerts() -> None:
    """Without a shift there is at most one alert in a feature-year: none in the six of all cases together."""
    numbers = np.random.default_rng(SEED)
    results = [
        false_alerts(numbers, rows, features, rate, years=0.5)
        for rows in BASELINES
        for features in FEATURES
        for rate in RATES
    ]
    found, years = (sum(values) for values in zip(*results, strict=True))
    assert most_alerts(int(found)) / years <= 1


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("rows", [500, 10_000])
def test_half_a_deviation(rows: int, features: int) -> None:
    """A shift of half a standard deviation is found within an hour at a row a second."""
    numbers = np.random.default_rng(SEED)
    assert found_share(numbers, rows, features, 60, shift=0.5) >= 0.9


@pytest.mark.parametrize("rows", BASELINES)
def test_detectable_shift(rows: int) -> None:
    """The shift that a draft states is found in about nine cases of ten, and one of half its size is not."""
    shift = detectable_shift(rows, 13)
    assert shift is not None
    numbers = np.random.default_rng(SEED)
    found = found_share(numbers, rows, 13, 100, shift=shift)
    assert interval(found, 100)[1] >= 0.9
    assert found_share(numbers, rows, 13, 100, shift=shift / 2) < 0.5


@pytest.mark.parametrize("rate", [60.0, 6000.0])
def test_missing(rate: float) -> None:
    """5 % of missing values in one of a hundred features are found within 15 minutes."""
    numbers = np.random.default_rng(SEED)
    assert found_share(numbers, 133, 100, 60, missing=0.05, minutes=15, rate=rate) >= 0.9


def test_too_small() -> None:
    """Of a baseline of up to about 40 rows there is nothing to promise."""
    assert detectable_shift(40, 13) is None
    assert detectable_shift(41, 13) is not None


def test_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command prints three tables."""
    monkeypatch.setattr("benchmarks.drift.BASELINES", (133,))
    monkeypatch.setattr("benchmarks.drift.FEATURES", (13,))
    monkeypatch.setattr("benchmarks.drift.SHORT", (0.02, 2))
    assert main(["--short"]) == 0
    assert capsys.readouterr().out.count("133") == 5
