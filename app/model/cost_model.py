"""How long the model takes for a batch: measured at the warm-up, and corrected by recent inferences."""

from bisect import bisect_left
from collections.abc import Mapping
from time import monotonic

# A larger batch pays if it lowers the time of a row to this share.
PAYING_RATIO = 0.9
# Weight of the latest inference in the average.
LATEST = 0.2
# A single inference, which another process may have interrupted, counts for at most this multiple of the
# average.
MAX_RISE = 2.0
# An older average says little about the next inference.
MAX_AGE_S = 10.0


class CostModel:
    """Predicts the duration of an inference from its number of rows.

    The curve is linear between the measured points and beyond the last one. It is scaled, because other
    processes and the data change what a row takes.

    Attributes:
        scale: exponential average of the durations, divided by those of the curve.
    """

    def __init__(self, measured: Mapping[int, float]) -> None:
        """
        Args:
            measured: rows → seconds, for at least one number of rows, each at least 1.
        """
        self._rows = sorted(measured)
        # A larger batch cannot be faster; such a measurement is noise.
        self._seconds: list[float] = []
        for rows in self._rows:
            self._seconds.append(max([measured[rows], *self._seconds[-1:]]))
        self.scale = 1.0
        self._observed = monotonic()

    def predict(self, rows: int) -> float:
        """Return the expected duration of an inference in seconds."""
        return self.scale * self.base(rows)

    def observe(self, rows: int, seconds: float) -> None:
        """Correct the average by an inference."""
        ratio = min(seconds / self.base(rows), MAX_RISE * self.scale)
        self.scale += LATEST * (ratio - self.scale)
        self._observed = monotonic()

    def is_outdated(self) -> bool:
        """Return whether the last inference was long ago."""
        return monotonic() - self._observed > MAX_AGE_S

    def rows_within(self, seconds: float) -> int:
        """Return the largest measured or interpolated number of rows that takes at most that; may be 0."""
        low, high = 0, self._rows[-1] + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.predict(middle) <= seconds else (low, middle)
        return low

    def paying_rows(self, max_rows: int) -> int:
        """Return the largest measured batch that pays: a row takes clearly longer in every smaller one.

        Args:
            max_rows: maximum to return.
        """
        best, max_rows = 1, min(max_rows, self._rows[-1])
        for rows in (*(2**power for power in range(max_rows.bit_length())), max_rows):
            if self.base(rows) / rows <= PAYING_RATIO * self.base(best) / best:
                best = rows
        return best

    def base(self, rows: int) -> float:
        """Return the duration on the measured curve, not scaled."""
        if len(self._rows) == 1 or rows <= self._rows[0]:
            return self._seconds[0] * max(1, rows) / self._rows[0]
        index = min(bisect_left(self._rows, rows), len(self._rows) - 1)
        low, high = self._rows[index - 1], self._rows[index]
        slope = (self._seconds[index] - self._seconds[index - 1]) / (high - low)
        return self._seconds[index] + slope * (rows - high)
