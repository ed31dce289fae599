"""PromQL queries of the canary gate. Prometheus does the arithmetic.

https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

from dataclasses import dataclass

# 503 and 504 are shed requests. All other 5xx are errors, such as a model that failed.
ERRORS = 'status=~"5..",status!~"503|504"'
SHED = 'reason=~"queue_full|over_share|deadline|not_ready"'
SCORING = 'method="POST",url_rule=~"/score|/invocations|/v1/.+:predict|/v2/.+/infer"'
# If there was no stable pod for this long, there is no stable release yet; if for less, it is down.
HISTORY = "1d"
# An empty bin in one of the distributions would make the index infinite.
MIN_SHARE = 1e-4


@dataclass(frozen=True)
class TrackQueries:
    """Queries on the pods of one `track` in one namespace, over a window such as `5m`."""

    namespace: str
    track: str
    window: str

    def _select(self, metric: str, labels: str = "") -> str:
        pods = f'job="scorebox",namespace="{self.namespace}",track="{self.track}"'
        return f"{metric}{{{pods}{',' if labels else ''}{labels}}}"

    def _increase(self, metric: str, labels: str = "") -> str:
        """Return the increase of each counter in the window.

        `increase` ignores a counter's first value. A counter that did not exist at the start of the window is
        therefore taken at its full value. This includes a canary's first error, and its requests before the
        first scrape.
        """
        counter = self._select(metric, labels)
        return f"(({counter} unless {counter} offset {self.window}) or increase({counter}[{self.window}]))"

    @property
    def targets(self) -> str:
        """Number of pods that Prometheus scraped or tried to scrape within `HISTORY`."""
        return f"count(count_over_time({self._select('up')}[{HISTORY}]))"

    @property
    def requests(self) -> str:
        """Number of scoring requests answered."""
        return f"sum({self._increase('model_requests_total')})"

    @property
    def errors(self) -> str:
        """Share of the requests that ended in a server error; 0 if no error was ever counted."""
        return f"(sum({self._increase('model_requests_total', ERRORS)}) or vector(0)) / {self.requests}"

    @property
    def shed(self) -> str:
        """Share of the requests that were shed; 0 if none ever was."""
        return f"(sum({self._increase('model_rejected_total', SHED)}) or vector(0)) / {self.requests}"

    @property
    def p99_seconds(self) -> str:
        """99th percentile of the duration of scoring requests, in seconds."""
        buckets = self._increase("flask_http_request_duration_seconds_bucket", SCORING)
        return f"histogram_quantile(0.99, sum by (le) ({buckets}))"

    @property
    def outputs(self) -> str:
        """Number of values by output and bin."""
        return f"sum by (output, bin) ({self._increase('model_output_bin_total')})"

    @property
    def bins(self) -> str:
        """Share of each bin in the baseline of the pods' own model, by output and bin."""
        return f"avg by (output, bin) ({self._select('model_output_expected_ratio')})"


def psi(counts: str, other: str) -> str:
    """Return a query for the population stability index by output.

    Args:
        counts, other: queries with one value per output and bin.
    """

    def share(of: str, bins_of: str) -> str:
        # A bin that only the other distribution has counts as empty.
        with_all_bins = f"({of} or 0 * {bins_of})"
        return f"clamp_min({with_all_bins} / on (output) group_left sum by (output) ({of}), {MIN_SHARE})"

    actual, expected = share(counts, other), share(other, counts)
    return f"sum by (output) (({actual} - {expected}) * ln({actual} / {expected}))"


def outputs_with_other_bins(canary: TrackQueries, stable: TrackQueries) -> str:
    """Return a query for the outputs whose bins differ between the two models' baselines."""
    a, b = canary.bins, stable.bins
    return f"count by (output) (({a} unless {b}) or ({b} unless {a}))"
