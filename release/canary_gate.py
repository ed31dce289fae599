"""Decide on a canary: the checks, the evidence that they have, and the table that shows it."""

from collections.abc import Mapping

from model_loader.text_tables import table
from release.canary_checks import PASS, REJECT, Check, CheckResult, LatencyCheck, RateCheck
from release.output_check import OutputCheck
from release.pod_counters import Look
from release.promql import CANARY, CONTROL
from release.thresholds import Thresholds

NOT_YET = "not yet"
NOT_TESTED = "-"
HEADER = ("CHECK", "CANARY", "COMPARED WITH", "LIMIT", "CHANCE", "RESULT")
# Errors, sheds, latency and outputs share the error rate equally; all outputs together have one share.
SHARE = 1 / 4

Shares = Mapping[str, Mapping[str, float]]


class CanaryGate:
    """The checks of a canary, and what they have seen since the watch began.

    In the first deployment there is nothing to compare with. The canary is then only checked against absolute
    limits and its own baseline, and no number of requests is required.

    Attributes:
        thresholds: the limits.
        is_first: whether this is the first deployment; None before `begin`.
        has_outputs: whether it is known which outputs there are to compare.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self.is_first: bool | None = None
        self.has_outputs = False
        self._checks: list[Check] = []
        self._requests = {CANARY: 0, CONTROL: 0}
        self._replayed = 0

    def begin(self, *, is_first: bool) -> None:
        """Create the checks that every canary has."""
        self.is_first = is_first
        self._checks = plain_checks(self.thresholds, is_first=is_first)

    def add_outputs(self, canary: Shares, control: Shares, rows: float) -> None:
        """Create the checks of the outputs; arguments as for `output_checks`."""
        self.has_outputs = True
        self._checks += output_checks(self.thresholds, canary, control, rows)

    def observe(self, look: Look) -> None:
        """Add the requests of some time, also of replayed samples."""
        for check in self._checks:
            check.observe(look)
        self._requests[CANARY] += look.canary.requests
        self._requests[CONTROL] += look.control.requests
        if look.is_replayed:
            self._replayed += look.canary.requests

    @property
    def result(self) -> str:
        """`pass`, `reject`, or `not yet` while too little is known to pass."""
        if any(check.is_rejected for check in self._checks):
            return REJECT
        return PASS if self.has_outputs and not self.missing_requests else NOT_YET

    @property
    def missing_requests(self) -> int:
        """Number of requests that canary or control pods lack; 0 in the first deployment."""
        if self.is_first:
            return 0
        return max(0, self.thresholds.min_requests - min(self._requests.values()))

    def report(self) -> str:
        """Return the table on which the result is based."""
        results = [self._requests_result(), *(check.result() for check in self._checks)]
        if not any(isinstance(check, OutputCheck) for check in self._checks):
            reason = "its package has no baseline" if self.has_outputs else "its pods are not scraped yet"
            results.append(CheckResult("output", "-", "-", reason, None, NOT_TESTED))
        return table(HEADER, [_row(result) for result in results])

    def _requests_result(self) -> CheckResult:
        canary, control = self._requests.values()
        replayed = f", {self._replayed} of them replayed" if self._replayed else ""
        if self.is_first:
            return CheckResult("requests", str(canary), "-", "none: first deployment", None, PASS)
        return CheckResult(
            "requests",
            f"{canary}{replayed}",
            f"control: {control}{replayed}",
            f"at least {self.thresholds.min_requests}",
            None,
            NOT_YET if self.missing_requests else PASS,
        )


def plain_checks(thresholds: Thresholds, *, is_first: bool) -> list[Check]:
    """Return the checks of errors, shed requests and latency."""
    alpha, limits = thresholds.alpha, thresholds.limits
    return [
        *(RateCheck(name, limits[name], alpha, SHARE, is_first=is_first) for name in ("errors", "shed")),
        LatencyCheck(limits["latency"], alpha, SHARE, is_first=is_first),
    ]


def output_checks(
    thresholds: Thresholds,
    canary: Shares,
    control: Shares,
    rows: float,
) -> list[OutputCheck]:
    """Return the checks of the canary's outputs.

    An output is compared with the control pods if both models have the same bins for it: shares of different
    bins are not comparable. Otherwise it is compared with the canary's own baseline.

    Args:
        canary, control: output → bin → share in the baseline of the pods' model.
        rows: number of rows of the canary's baseline.
    """
    return [
        OutputCheck(
            output,
            bins,
            thresholds.limits["output"],
            thresholds.alpha,
            SHARE / len(canary),
            baseline_rows=None if bins.keys() == control.get(output, {}).keys() else rows,
        )
        for output, bins in sorted(canary.items())
    ]


def _row(result: CheckResult) -> tuple[str, ...]:
    chance = "-" if result.chance is None else _chance(result.chance)
    return (result.check, result.canary, result.other, result.limit, chance, result.result)


def _chance(chance: float) -> str:
    if chance >= 1:
        return "≤ 100 %"
    return f"≤ {100 * chance:.2g} %" if chance >= 1e-6 else "< 0.0001 %"
