"""What a measure must not fall below or rise above, for alerts: see `limits` in `monitor.toml`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Limit:
    """A limit of a measure.

    Attributes:
        side: `min`, below which the measure must not be, or `max`.
        source: `floor`, a fixed limit; or `gate`, relative to the evaluation before the release.
    """

    metric: str
    side: Literal["min", "max"]
    source: Literal["floor", "gate"]
    value: float


def limits_of(
    declared: Mapping[str, Mapping[str, float]], evaluation: Mapping[str, float]
) -> Iterator[Limit]:
    """Yield the limits of a version; of two for the same side of a measure, the one that is reached first.

    Args:
        declared: measure → rule → limit, as in `monitor.toml`.
        evaluation: measure → its value in the version's manifest; without it, a relative rule has no limit.
    """
    for metric, rules in declared.items():
        lowest = [Limit(metric, "min", "floor", rules["min"])] if "min" in rules else []
        highest = [Limit(metric, "max", "floor", rules["max"])] if "max" in rules else []
        if metric in evaluation:
            before = evaluation[metric]
            if "max_drop" in rules:
                lowest.append(Limit(metric, "min", "gate", before - rules["max_drop"]))
            if "max_rise" in rules:
                highest.append(Limit(metric, "max", "gate", before + rules["max_rise"]))
        if lowest:
            yield max(lowest, key=lambda limit: limit.value)
        if highest:
            yield min(highest, key=lambda limit: limit.value)
