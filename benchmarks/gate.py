"""`python -m benchmarks.gate [--short]`: how often the canary gate is right, in simulated watches.

The checks are those of `release/canary_gate.py`, with the thresholds of `monitoring/canary.toml`; only the
requests are simulated, with a fixed seed. Exit code 0: equal canaries are rejected in at most 1 % of the
watches, by the upper end of the interval, and worse ones in at least 95 %, where that is promised.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from model_loader.text_tables import table
from release.canary_checks import Check
from release.canary_gate import output_checks, plain_checks
from release.pod_counters import Look, TrackCounts
from release.promql import DURATIONS
from release.thresholds import Thresholds, read_thresholds

ROOT = Path(__file__).parents[1]
LOOKS = 24
STABLE_PODS = 10
SEED = 1
# The service's histograms: of whole requests, and of inferences.
EDGES = (
    (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
    (*(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01), 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
INFERENCE_SHARE = 0.5  # of a request's duration
LABELS = {"0": 0.9, "1": 0.09, "2": 0.01}
SCORES = 10  # bins of a log-normal output, with equal shares in the baseline
MAX_REJECTED, MIN_REJECTED = 0.01, 0.95
EQUAL_WATCHES, POWER_WATCHES, SHORT_WATCHES = 250, 200, 8


@dataclass(frozen=True)
class Pods:
    """What is true of the pods of a track.

    Attributes:
        errors: share of the requests that end in an error.
        median_s: of the durations, in seconds; they have a log-normal distribution.
        sigma: standard deviation of a duration's logarithm.
        labels: shares of three categories, most of them in the first.
        shift: of the logarithm of a log-normal output, in standard deviations.
    """

    errors: float = 0.001
    median_s: float = 0.02
    sigma: float = 0.5
    labels: tuple[float, ...] = tuple(LABELS.values())
    shift: float = 0.0

    def count(self, requests: int, random: np.random.Generator) -> TrackCounts:
        """Return what these pods count in some requests."""
        errors = int(random.binomial(requests, self.errors))
        seconds = self.median_s * np.exp(self.sigma * random.standard_normal(requests))
        durations = {}
        for metric, edges, factor in zip(DURATIONS, EDGES, (1, INFERENCE_SHARE), strict=True):
            below = np.searchsorted(np.sort(seconds * factor), edges, side="right").tolist()
            durations[metric] = dict(zip((*edges, math.inf), (*below, requests), strict=True))
        answered = requests - errors
        bins = np.searchsorted(quantiles(), random.standard_normal(answered) + self.shift)
        outputs = {
            "label": dict(zip(LABELS, random.multinomial(answered, self.labels).tolist(), strict=True)),
            "score": dict(zip(score_bins(), np.bincount(bins, minlength=SCORES).tolist(), strict=True)),
        }
        return TrackCounts(requests, answered, errors, 0, durations, outputs)


@dataclass(frozen=True)
class Scenario:
    """A kind of watch.

    Attributes:
        check: the check that rejects the canary; empty if it is equal to the control pods.
        requests: to the canary, and as many to the control pods and to each stable pod.
        rows: of the canary's baseline, with which its outputs are compared; None for the control pods.
        is_promised: whether the figure is a condition of the exit code.
    """

    name: str
    canary: Pods
    release: Pods
    check: str = ""
    requests: int = 300
    rows: int | None = None
    is_promised: bool = True


@cache
def quantiles() -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return the deciles of the standard normal distribution."""
    upper = np.array([0.2533471031, 0.5244005127, 0.8416212336, 1.2815515655])
    return np.array([*-upper[::-1], 0.0, *upper])


@cache
def score_bins() -> dict[str, float]:
    """Return the bins of the log-normal output, as the service names them, with their shares."""
    edges = [0.0, *np.exp(quantiles()).round(4).tolist(), 99.0]
    return {f"{low}..{high}": 1 / SCORES for low, high in pairwise(edges)}


def scenarios() -> list[Scenario]:
    """Return all scenarios: equal canaries, and worse ones."""
    found = []
    for errors in (0.001, 0.003, 0.01):
        for sigma in (0.5, 1.0):
            pods = Pods(errors=errors, sigma=sigma)
            found.append(Scenario(f"equal: {100 * errors:g} % errors, sigma {sigma:g}", pods, pods))
    pods = Pods(errors=0.003)
    found.append(Scenario("equal: 3,000 requests", pods, pods, requests=3000))
    found.append(Scenario("equal: baseline of 133 rows", pods, pods, rows=133))
    for requests, errors in ((300, 0.001), (300, 0.003), (300, 0.01), (600, 0.01)):
        is_possible = requests > 300 or errors < 0.01
        name = f"5 % errors, release {100 * errors:g} %"
        pods = Pods(errors=errors)
        worse = replace(pods, errors=0.05)
        found.append(Scenario(name, worse, pods, "errors", requests, is_promised=is_possible))
    for median_s in (0.02, 0.001):
        for sigma in (0.5, 1.0):
            pods = Pods(sigma=sigma, median_s=median_s)
            name = f"doubled latency of {1000 * median_s:g} ms, sigma {sigma:g}"
            found.append(Scenario(name, replace(pods, median_s=2 * median_s), pods, "latency"))
    labels = (0.6, 0.3, 0.1)  # the first class's share of 0.9 has a standard deviation of 0.3
    found.append(Scenario("label moved by one sd", Pods(labels=labels), Pods(), "output label"))
    found.append(Scenario("score moved by one sd", Pods(shift=1), Pods(), "output score"))
    for rows in (133, 500, 10_000):
        name = f"score moved by one sd, baseline of {rows:,} rows"
        found.append(Scenario(name, Pods(shift=1), Pods(), "output score", rows=rows, is_promised=rows > 133))
    return found


def is_rejected(scenario: Scenario, thresholds: Thresholds, random: np.random.Generator) -> bool:
    """Simulate one watch; return whether the check, or any for an equal canary, rejects the canary."""
    shares = {"label": LABELS, "score": score_bins()}
    checks: list[Check] = plain_checks(thresholds, is_first=False)
    if scenario.rows is None:
        checks += output_checks(thresholds, shares, shares, 1)
    else:
        # The baseline itself is a sample of the distribution.
        drawn = {
            name: dict(
                zip(bins, random.multinomial(scenario.rows, list(bins.values())) / scenario.rows, strict=True)
            )
            for name, bins in shares.items()
        }
        checks += output_checks(thresholds, drawn, {}, scenario.rows)
    relevant = [check for check in checks if scenario.check in ("", check.name)]
    parts = np.full(LOOKS, 1 / LOOKS)
    canary, control = (random.multinomial(scenario.requests, parts).tolist() for _ in range(2))
    stable = random.multinomial(scenario.requests * STABLE_PODS, parts).tolist()
    for numbers in zip(canary, control, stable, strict=True):
        tracks = (scenario.canary, scenario.release, scenario.release)
        counted = [pods.count(number, random) for pods, number in zip(tracks, numbers, strict=True)]
        look = Look(counted[0], counted[1], counted[2])
        for check in relevant:
            check.observe(look)
        if any(check.is_rejected for check in relevant):
            return True
    return False


def interval(cases: int, total: int) -> tuple[float, float]:
    """Return the exact interval of a rate with a confidence of 95 %, by Clopper and Pearson."""

    def at_most(number: int, rate: float) -> float:
        logs = [
            math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
            + k * math.log(rate) + (total - k) * math.log1p(-rate)
            for k in range(number + 1)
        ]  # fmt: skip
        return math.fsum(map(math.exp, logs))

    def bisect(number: int, level: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(number, middle) > level else (low, middle)
        return (low + high) / 2

    lower = bisect(cases - 1, 0.975) if cases else 0.0
    return lower, bisect(cases, 0.025) if cases < total else 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser("gate", description="Measure how often the canary gate is right.")
    parser.add_argument("--short", action="store_true", help="a few watches of each kind, in seconds")
    args = parser.parse_args(argv)
    thresholds = read_thresholds(ROOT / "monitoring/canary.toml")
    rows, is_ok = [], True
    equal, equal_rejected = 0, 0
    for number, scenario in enumerate(scenarios()):
        random = np.random.default_rng([SEED, number])
        watches = SHORT_WATCHES if args.short else POWER_WATCHES if scenario.check else EQUAL_WATCHES
        rejected = sum(is_rejected(scenario, thresholds, random) for _ in range(watches))
        low, high = interval(rejected, watches)
        if not scenario.check:
            equal, equal_rejected = equal + watches, equal_rejected + rejected
        elif scenario.is_promised:
            # In the short form a few of the watches may go wrong by chance.
            is_ok &= (high if args.short else rejected / watches) >= MIN_REJECTED
        promise = "≥ 95 %" if scenario.check and scenario.is_promised else "-"
        rows.append(
            (scenario.name, f"{scenario.requests:,}", f"{rejected} of {watches}", percent(low, high), promise)
        )
        print(f"{scenario.name}: {rejected} of {watches}", file=sys.stderr, flush=True)
    low, high = interval(equal_rejected, equal)
    is_ok &= (low if args.short else high) <= MAX_REJECTED
    rows.append(("all equal canaries", "", f"{equal_rejected} of {equal:,}", percent(low, high), "≤ 1 %"))
    print(table(("CANARY", "REQUESTS", "REJECTED", "95 % INTERVAL", "PROMISE"), rows))
    print(f"\n{LOOKS} looks a watch, seed {SEED}; promises {'kept' if is_ok else 'broken'}")
    return 0 if is_ok else 1


def percent(low: float, high: float) -> str:
    """Format an interval of rates."""
    return f"{100 * low:.2f} to {100 * high:.2f} %"


if __name__ == "__main__":
    sys.exit(main())
