"""What the canary gate asks: PromQL, so that Prometheus does the arithmetic.

https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

from dataclasses import dataclass

# 503 and 504 say that a request was shed; all other 5xx are errors, a model that failed among them.
ERRORS = 'status=~"5..",status!~"503|504"'
SHED = 'reason=~"queue_full|deadline|not_ready"'
SCORING = 'method="POST",url_rule=~"/score|/v2/.+/infer"'
# No stable for so long means that there is none yet, and not that it is down.
HISTORY = "1d"
# A bin that is empty on one side would make the index infinite.
LEAST_SHARE = 1e-4


@dataclass(frozen=True)
class Side:
    """The pods of one `track` in one namespace, over a window such as `5m`."""

    namespace: str
    track: str
    window: str

    def _select(self, metric: str, labels: str = "") -> str:
        both = f'job="scorebox",namespace="{self.namespace}",track="{self.track}"'
        return f"{metric}{{{both}{',' if labels else ''}{labels}}}"

    def _counted(self, metric: str, labels: str = "") -> str:
        """By how much each counter rose in the window.

        `increase` does not see what a counter began with. So one that was not there when the window began
        counts as a whole: a canary's first error is seen, and so is what it did before it was scraped first.
        """
        counter = self._select(metric, labels)
        return f"(({counter} unless {counter} offset {self.window}) or increase({counter}[{self.window}]))"

    @property
    def targets(self) -> str:
        """How many pods of this side there were lately, whether or not they answered."""
        return f"count(count_over_time({self._select('up')}[{HISTORY}]))"

    @property
    def requests(self) -> str:
        """How many scoring requests were answered."""
        return f"sum({self._counted('model_requests_total')})"

    @property
    def errors(self) -> str:
        """The share of them that ended in an error of ours; 0 where no error was ever counted."""
        return f"(sum({self._counted('model_requests_total', ERRORS)}) or vector(0)) / {self.requests}"

    @property
    def shed(self) -> str:
        """The share of them that was turned away; 0 where none ever was."""
        return f"(sum({self._counted('model_rejected_total', SHED)}) or vector(0)) / {self.requests}"

    @property
    def p99_seconds(self) -> str:
        """How long 99 of 100 scoring requests took at most."""
        buckets = self._counted("flask_http_request_duration_seconds_bucket", SCORING)
        return f"histogram_quantile(0.99, sum by (le) ({buckets}))"

    @property
    def outputs(self) -> str:
        """How many values of each output fell into each bin."""
        return f"sum by (output, bin) ({self._counted('model_output_bin_total')})"

    @property
    def bins(self) -> str:
        """The share of each bin of each output in the model's own baseline."""
        return f"avg by (output, bin) ({self._select('model_output_expected_ratio')})"


def psi(counts: str, other: str) -> str:
    """The population stability index of each output; both arguments give a number an output and bin."""

    def share(one: str, two: str) -> str:
        # A bin that only the other side has is an empty one.
        whole = f"({one} or 0 * {two})"
        return f"clamp_min({whole} / on (output) group_left sum by (output) ({one}), {LEAST_SHARE})"

    a, e = share(counts, other), share(other, counts)
    return f"sum by (output) (({a} - {e}) * ln({a} / {e}))"


def other_bins(canary: Side, stable: Side) -> str:
    """The outputs whose bins the two models' baselines drew differently."""
    a, b = canary.bins, stable.bins
    return f"count by (output) (({a} unless {b}) or ({b} unless {a}))"
