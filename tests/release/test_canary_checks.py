"""The checks of a canary: what they compare, and what their rows say."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from release.canary_checks import REPLAYED, Check, LatencyCheck, RateCheck
from release.output_check import OutputCheck, split_bins
from release.pod_counters import Look, TrackCounts
from release.promql import DURATIONS
from release.thresholds import read_thresholds

ROOT = Path(__file__).parents[2]
LIMITS = read_thresholds(ROOT / "monitoring/canary.toml").limits
ALPHA, SHARE = 0.01, 0.25


def rate_check(*, is_first: bool = False) -> RateCheck:
    """Return a check of errors."""
    return RateCheck("errors", LIMITS["errors"], ALPHA, SHARE, is_first=is_first)


def latency_check(*, is_first: bool = False) -> LatencyCheck:
    """Return a check of durations."""
    return LatencyCheck(LIMITS["latency"], ALPHA, SHARE, is_first=is_first)


def output_check(shares: Mapping[str, float], rows: float | None = None) -> OutputCheck:
    """Return a check of an output `label`."""
    return OutputCheck("label", shares, LIMITS["output"], ALPHA, SHARE, baseline_rows=rows)


def durations(seconds: float, requests: int, metric: str = DURATIONS[0]) -> TrackCounts:
    """Return requests that all took equally long."""
    histogram = {edge: requests * (seconds <= edge) for edge in (0.01, 0.1, 1.0, 10.0, math.inf)}
    return TrackCounts(requests, requests, durations={metric: histogram})


def outputs(bins: Mapping[str, int], requests: int | None = None) -> TrackCounts:
    """Return requests with the values of an output `label`, by default one each."""
    number = sum(bins.values()) if requests is None else requests
    return TrackCounts(number, number, outputs={"label": bins})


def rejected(check: Check, *looks: Look) -> bool:
    """Return whether a check rejects the canary after some looks."""
    for look in looks:
        check.observe(look)
    assert check.result().result == ("reject" if check.is_rejected else "pass")
    return check.is_rejected


def test_errors_use_stable_pods() -> None:
    """Few errors are evidence because the many requests of the stable pods have none."""
    canary, control = TrackCounts(100, 94, errors=5), TrackCounts(100, 100)
    assert not rejected(rate_check(), Look(canary, control))
    assert rejected(rate_check(), Look(canary, control, TrackCounts(2000, 2000)))


def test_errors_of_all_pods() -> None:
    """Errors that all pods have are no evidence, as long as they are within the limit."""
    many = TrackCounts(10_000, 9_900, errors=190)
    assert not rejected(rate_check(), Look(many, many, many))
    above = TrackCounts(10_000, 9_500, errors=500)
    assert rejected(rate_check(), Look(above, above, above))


def test_first_deployment() -> None:
    """Without stable pods only the limits count."""
    assert not rejected(rate_check(is_first=True), Look(TrackCounts(1000, 985, errors=15)))
    assert rejected(rate_check(is_first=True), Look(TrackCounts(1000, 940, errors=60)))
    assert not rejected(latency_check(is_first=True), Look(durations(0.5, 1000)))
    assert rejected(latency_check(is_first=True), Look(durations(2, 100)))
    assert latency_check(is_first=True).result().other == "-"


@pytest.mark.parametrize("metric", [*DURATIONS, REPLAYED])
def test_latency(metric: str) -> None:
    """Latency is compared with the control pods, by each of the histograms; stable pods do not count."""
    slow, fast = durations(0.05, 60, metric), durations(0.005, 60, metric)
    assert rejected(latency_check(), Look(slow, fast))
    assert not rejected(latency_check(), Look(slow, slow, fast))
    assert not rejected(latency_check(), Look(fast, slow))


def test_other_edges() -> None:
    """Histograms may have other edges than before, or none."""
    check = latency_check()
    only_total = TrackCounts(9, 9, durations={DURATIONS[0]: {math.inf: 9}})
    assert not rejected(check, Look(only_total, only_total), Look(durations(0.05, 60), durations(0.05, 60)))
    assert check.result().canary == "p50 ≤ 0.1 s, p99 above all edges"


def test_evidence_remains() -> None:
    """A canary that was worse for a while stays rejected, however good it is later."""
    check, good = rate_check(), TrackCounts(2000, 2000)
    assert rejected(check, Look(TrackCounts(100, 80, errors=20), good))
    assert rejected(check, *[Look(good, good)] * 50)


@pytest.mark.parametrize(
    ("bins", "splits"),
    [
        (("0", "1", "missing"), [("0",), ("1",), ("missing",)]),
        (("0.5..1", "-1..0.5", "1..1e+06", "outside"),
         [("-1..0.5",), ("-1..0.5", "0.5..1"), ("outside",)]),
        (("a..b", "b"), [("a..b",), ("b",)]),
        (("0..1",), [("0..1",)]),
    ],
)  # fmt: skip
def test_splits(bins: tuple[str, ...], splits: list[tuple[str, ...]]) -> None:
    """Numbers are split at each edge, categories one by one."""
    assert split_bins(dict.fromkeys(bins, 0.1)) == splits


def test_outputs() -> None:
    """Outputs are compared with the control pods, in both directions, whatever the baseline says."""
    shares = {"0": 0.9, "1": 0.1, "missing": 0.0}
    few, many = outputs({"0": 190, "1": 10}), outputs({"0": 140, "1": 60})
    assert rejected(output_check(shares), Look(many, few))
    assert rejected(output_check(shares), Look(few, many))
    assert not rejected(output_check(shares), Look(many, many))
    assert rejected(output_check(shares), Look(outputs({"0": 180, "missing": 20}), few))


def test_baseline() -> None:
    """Without comparable pods, outputs are compared with a baseline, the less strictly the smaller it is."""
    shares = {"0": 0.5, "1": 0.5}
    moved = Look(outputs({"0": 60, "1": 240}))
    assert rejected(output_check(shares, 10_000), moved)
    assert not rejected(output_check(shares, 30), moved)
    assert not rejected(output_check(shares, 10_000), Look(outputs({"0": 170, "1": 130})))
    # A sample of a package has another distribution than the traffic.
    replayed = Look(moved.canary, is_replayed=True)
    assert not rejected(output_check(shares, 10_000), replayed)


def test_batches() -> None:
    """The rows of one request may be alike, so that they count as one value."""
    shares = {"0": 0.5, "1": 0.5}
    one, other = {"0": 4000, "1": 6000}, {"0": 6000, "1": 4000}
    assert rejected(output_check(shares), Look(outputs(one), outputs(other)))
    assert not rejected(output_check(shares), Look(outputs(one, 10), outputs(other, 10)))


def test_rows() -> None:
    """A row has both rates, what is surely excluded, the limits, and a bound on the chance."""
    check = rate_check()
    check.observe(Look(TrackCounts(400, 399, errors=1), TrackCounts(400, 400), TrackCounts(3600, 3600)))
    result = check.result()
    assert result.canary == "0.25 % of 400, 95 % sure: below 1.4 %"
    assert result.other == "control and stable: 0 % of 4000"
    assert result.limit == "2 %, 1 times the odds"
    assert result.chance == 1
    outputs_moved = output_check({"0": 0.5, "1": 0.5})
    outputs_moved.observe(Look(outputs({"0": 90, "1": 10}), outputs({"0": 50, "1": 50})))
    result = outputs_moved.result()
    assert (result.canary, result.other) == ("90 % in 0, 100 values", "control: 50 %")
    assert result.chance is not None
    assert result.chance < ALPHA
