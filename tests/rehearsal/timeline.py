"""What happens in a scenario, with the time since its beginning."""

import time
from dataclasses import dataclass, field
from threading import Lock

from tests.rehearsal.rehearsal import report


@dataclass
class Timeline:
    """Events in their order, each printed as it happens.

    Attributes:
        zero: the beginning, by the monotonic clock.
    """

    zero: float = field(default_factory=time.monotonic)
    _lock: Lock = field(default_factory=Lock)

    def restart(self) -> None:
        """Let the time begin now."""
        self.zero = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return time.monotonic() - self.zero

    def add(self, text: str) -> None:
        """Print an event that happens now."""
        with self._lock:
            minutes, seconds = divmod(max(0, round(self.seconds)), 60)
            report(f"  {minutes:2}:{seconds:02}  {text}")
