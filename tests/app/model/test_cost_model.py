"""The cost model: durations of inferences, and the batches that pay."""

import pytest

from app.model.cost_model import CostModel


def test_curve() -> None:
    """Durations are interpolated between the measured ones, and extrapolated."""
    cost = CostModel({1: 1.0, 2: 1.5, 4: 3.0})
    assert [cost.predict(rows) for rows in (0, 1, 2, 3, 4, 6)] == [1.0, 1.0, 1.5, 2.25, 3.0, 4.5]
    assert [cost.rows_within(seconds) for seconds in (0.9, 1.0, 2.3, 9.0)] == [0, 1, 3, 4]
    assert CostModel({4: 1.0}).predict(8) == 2.0


def test_noise() -> None:
    """A batch is never expected to be faster than a smaller one."""
    assert CostModel({1: 2.0, 2: 1.0, 4: 5.0}).predict(2) == 2.0


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ({1: 1.0, 2: 2.0, 4: 4.0}, 1),
        ({1: 1.0, 2: 2.0, 4: 3.9}, 1),
        ({1: 1.0, 2: 1.1, 4: 1.2, 8: 1.6, 16: 3.1, 32: 6.2}, 8),
        ({1: 1.0, 128: 2.0}, 100),
        ({1: 1.0, 2: 1.1}, 2),
        ({8: 1.0}, 1),
    ],
    ids=["linear", "almost", "saturated", "constant", "not_measured", "one_size"],
)
def test_paying_rows(measured: dict[int, float], expected: int) -> None:
    """A batch grows as long as a row takes clearly less time in it."""
    assert CostModel(measured).paying_rows(100) == expected


def test_interrupted_inference() -> None:
    """A single inference that took very long changes the average little."""
    cost = CostModel({1: 1e-5})
    cost.observe(1, 1.0)
    assert cost.predict(1) < 2e-5


def test_observe() -> None:
    """Recent inferences correct what was measured, for batches of any size."""
    cost = CostModel({1: 1.0, 2: 1.5})
    for _ in range(30):
        cost.observe(2, 3.0)
    assert cost.predict(1) == pytest.approx(2.0, rel=0.01)
    for _ in range(30):
        cost.observe(1, 0.5)
    assert cost.predict(2) == pytest.approx(0.75, rel=0.01)
    assert not cost.is_outdated()
