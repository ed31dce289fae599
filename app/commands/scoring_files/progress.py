"""A line on the terminal that says how far a file is scored."""

import sys
from time import monotonic

INTERVAL_S = 0.2
WIDTH = 24


class Progress:
    """A bar, rows and rows a second; nothing if standard error is no terminal."""

    def __init__(self, name: str, total: int, done: int) -> None:
        """
        Args:
            total: size of the file, in the unit of the positions.
            done: rows of earlier runs.
        """
        self._name, self._total, self._done = name, max(1, total), done
        self._began = self._shown = monotonic()
        self._is_on = sys.stderr.isatty()

    def show(self, rows: int, position: int) -> None:
        """Write the line again, a few times a second.

        Args:
            rows: that are done.
            position: up to which the file is scored.
        """
        now = monotonic()
        if not self._is_on or now - self._shown < INTERVAL_S:
            return
        self._shown = now
        share = min(1.0, position / self._total)
        bar = ("#" * round(share * WIDTH)).ljust(WIDTH)
        rate = (rows - self._done) / (now - self._began)
        line = f"\r{self._name} [{bar}] {share:4.0%}  {rows:,} rows, {rate:,.0f}/s"
        print(line, end="\x1b[K", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line."""
        if self._is_on:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
