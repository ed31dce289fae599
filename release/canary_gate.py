"""Compare a canary with the stable pods, check by check."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from model_loader.text_tables import number
from release.errors import NotEnoughData
from release.prometheus import Prometheus
from release.promql import TrackQueries, outputs_with_other_bins, psi
from release.thresholds import Thresholds

PASS, REJECT, NOT_YET = "pass", "reject", "not yet"
NOT_COMPARED = "-"
HEADER = ("CHECK", "CANARY", "STABLE", "LIMIT", "RESULT")


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        limit: a description of the canary's limit.
        result: `pass`; `reject`; `not yet` if there is too little data; `-` if there is nothing to compare.
    """

    check: str
    canary: float | None
    stable: float | None
    limit: str
    result: str


def compare(prometheus: Prometheus, namespace: str, window: str, thresholds: Thresholds) -> list[CheckResult]:
    """Compare the canary of a namespace with its stable pods.

    If Prometheus has seen no stable pod for a day, the canary belongs to the first deployment. It is then
    only checked against the absolute limits.

    Returns:
        One result per check, the number of requests first.

    Raises:
        NotEnoughData: Prometheus does not answer, or scrapes no canary in the namespace.
    """
    canary, stable_queries = (TrackQueries(namespace, track, window) for track in ("canary", "stable"))
    if not prometheus.scalar(canary.targets):
        raise NotEnoughData(f"Prometheus at {prometheus.url} has no canary targets in {namespace}")
    stable = stable_queries if prometheus.scalar(stable_queries.targets) else None
    results = [_check_requests(prometheus, canary, stable, thresholds.min_requests)]
    for check in ("errors", "p99_seconds", "shed"):
        limits = thresholds.limits[check]
        canary_value = prometheus.scalar(getattr(canary, check))
        if stable is None:
            results.append(_check_limit(check, canary_value, None, limits["max"], None))
        else:
            stable_value = prometheus.scalar(getattr(stable, check))
            results.append(_check_limit(check, canary_value, stable_value, limits["max"], limits["max_rise"]))
    results += _check_outputs(prometheus, canary, stable, thresholds.limits["psi"]["max"])
    return results


def verdict(results: list[CheckResult]) -> str:
    """Return the overall result: `not yet` if there are too few requests, whatever the other checks found."""
    if results[0].result == NOT_YET:
        return NOT_YET
    found = {result.result for result in results}
    return next((result for result in (REJECT, NOT_YET) if result in found), PASS)


def _check_requests(
    prometheus: Prometheus, canary: TrackQueries, stable: TrackQueries | None, minimum: float
) -> CheckResult:
    counts = [(prometheus.scalar(track.requests) or 0.0) if track else None for track in (canary, stable)]
    enough = all(count >= minimum for count in counts if count is not None)
    limit = f"at least {minimum:g}{'' if stable else '; first deployment, no stable pods'}"
    return CheckResult("requests", counts[0], counts[1], limit, PASS if enough else NOT_YET)


def _check_limit(
    check: str, canary: float | None, stable: float | None, maximum: float, max_rise: float | None
) -> CheckResult:
    limit = f"at most {maximum:g}"
    if max_rise is not None:
        limit += f", and {max_rise:g} above stable"
    if canary is None or (stable is None and max_rise is not None):
        return CheckResult(check, canary, stable, limit, NOT_YET)
    exceeded = canary > maximum
    if max_rise is not None and stable is not None:
        exceeded |= canary - stable > max_rise
    return CheckResult(check, canary, stable, limit, REJECT if exceeded else PASS)


def _check_outputs(
    prometheus: Prometheus, canary: TrackQueries, stable: TrackQueries | None, maximum: float
) -> Iterator[CheckResult]:
    """Yield one result per output: the population stability index of its distribution.

    An output is compared with the canary's own baseline if there are no stable pods, or if the two models'
    baselines have different bins: shares of different bins are not comparable.
    """
    to_baseline = prometheus.vector(psi(canary.outputs, canary.bins), "output")
    with_baseline = prometheus.vector(f"count by (output) ({canary.bins})", "output")
    to_stable: Mapping[str, float] = {}
    not_comparable = with_baseline
    if stable:
        to_stable = prometheus.vector(psi(canary.outputs, stable.outputs), "output")
        not_comparable = prometheus.vector(outputs_with_other_bins(canary, stable), "output")
    if not to_stable and not with_baseline:
        yield CheckResult("psi", None, None, "the canary's package has no baseline", NOT_COMPARED)
    for output in sorted(to_stable.keys() | with_baseline.keys()):
        reference, values = ("stable", to_stable)
        if output in not_comparable:
            reference, values = ("its baseline", to_baseline)
        yield _check_limit(f"psi of {output} vs {reference}", values.get(output), None, maximum, None)


def table_row(result: CheckResult) -> tuple[str, ...]:
    """Return the cells of a result, in the order of `HEADER`."""
    return (result.check, number(result.canary), number(result.stable), result.limit, result.result)
