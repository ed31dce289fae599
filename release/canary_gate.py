"""Holds a canary against stable, row by row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from model_loader.text_tables import number
from release.errors import NotEnoughData
from release.prometheus import Prometheus
from release.promql import Side, other_bins, psi
from release.thresholds import Thresholds

PASS, REJECT, NOT_YET = "pass", "reject", "not yet"
NOT_COMPARED = "-"


@dataclass(frozen=True)
class Row:
    """One check.

    Attributes:
        limit: what the canary's number is held against, in words.
        result: `pass`, `reject`, `not yet` where there is too little to say either, or `-` where there is
            nothing to compare.
    """

    check: str
    canary: float | None
    stable: float | None
    limit: str
    result: str


def judge(prometheus: Prometheus, namespace: str, window: str, thresholds: Thresholds) -> list[Row]:
    """Every check of the canary in a namespace, the number of requests first.

    Where stable has no pod, and had none for a day, the canary is the first that is deployed, and is held
    against what needs no other.

    Raises:
        NotEnoughData: Prometheus does not answer.
    """
    canary, stable = Side(namespace, "canary", window), Side(namespace, "stable", window)
    if not prometheus.scalar(canary.targets):
        raise NotEnoughData(f"Prometheus at {prometheus.url} knows of no canary in {namespace}")
    first = not prometheus.scalar(stable.targets)
    rows = [_requests(prometheus, canary, None if first else stable, thresholds.min_requests)]
    for check in ("errors", "p99_seconds", "shed"):
        limits = thresholds.limits[check]
        measured = prometheus.scalar(getattr(canary, check))
        if first:
            rows.append(_row(check, measured, None, limits["max"], None))
        else:
            compared = prometheus.scalar(getattr(stable, check))
            rows.append(_row(check, measured, compared, limits["max"], limits["max_rise"]))
    rows += _outputs(prometheus, canary, None if first else stable, thresholds.limits["psi"]["max"])
    return rows


def verdict(rows: list[Row]) -> str:
    """What all rows say together: `not yet` where traffic lacks, whatever the others say."""
    if rows[0].result == NOT_YET:
        return NOT_YET
    results = {row.result for row in rows}
    return next((result for result in (REJECT, NOT_YET) if result in results), PASS)


def _requests(prometheus: Prometheus, canary: Side, stable: Side | None, least: float) -> Row:
    counts = [(prometheus.scalar(side.requests) or 0.0) if side else None for side in (canary, stable)]
    enough = all(count >= least for count in counts if count is not None)
    limit = f"at least {least:g}{'' if stable else ', the first canary: no stable'}"
    return Row("requests", counts[0], counts[1], limit, PASS if enough else NOT_YET)


def _row(check: str, canary: float | None, stable: float | None, limit: float, max_rise: float | None) -> Row:
    words = f"at most {limit:g}"
    if max_rise is not None:
        words += f", and {max_rise:g} over stable"
    if canary is None or (stable is None and max_rise is not None):
        return Row(check, canary, stable, words, NOT_YET)
    over = canary > limit or (max_rise is not None and stable is not None and canary - stable > max_rise)
    return Row(check, canary, stable, words, REJECT if over else PASS)


def _outputs(prometheus: Prometheus, canary: Side, stable: Side | None, limit: float) -> Iterator[Row]:
    """A row an output. Where the models' baselines have other bins, or there is no stable, the canary is held
    against its own baseline: shares of bins that are not the same cannot be compared.
    """
    own = prometheus.vector(psi(canary.outputs, canary.bins), "output")
    drawn = prometheus.vector(f"count by (output) ({canary.bins})", "output")
    beside: Mapping[str, float] = {}
    differing = drawn
    if stable:
        beside = prometheus.vector(psi(canary.outputs, stable.outputs), "output")
        differing = prometheus.vector(other_bins(canary, stable), "output")
    if not beside and not drawn:
        yield Row("psi", None, None, "the canary's package has no baseline", NOT_COMPARED)
    for output in sorted(beside.keys() | drawn.keys()):
        values, what = (own, "its baseline") if output in differing else (beside, "stable")
        yield _row(f"psi of {output}, to {what}", values.get(output), None, limit, None)


def cells(row: Row) -> tuple[str, ...]:
    """A row as the table shows it."""
    return (row.check, number(row.canary), number(row.stable), row.limit, row.result)
