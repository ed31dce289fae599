"""PromQL queries of the canary gate.

https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

from model_loader.package.service_file import service

CANARY, CONTROL, STABLE = "canary", "control", "stable"

REQUESTS = "model_requests_total"
REJECTED = "model_rejected_total"
OUTPUTS = "model_output_bin_total"
# The first includes everything, from 5 ms on; the second is one inference, from 10 µs on.
DURATIONS = ("flask_http_request_duration_seconds_bucket", "model_infer_duration_seconds_bucket")
COUNTERS = (REQUESTS, REJECTED, OUTPUTS, *DURATIONS)
MODEL = "model_info"
EXPECTED_SHARES = "model_output_expected_ratio"
BASELINE_ROWS = "model_baseline_rows"

# An empty alternative selects the metrics that do not have the label.
SCORING = 'method=~"|POST",url_rule=~"|/score|/invocations|/v1/.+:predict|/v2/.+/infer"'
# Without a stable pod for this long, the deployment is the first one. After a shorter gap, the stable release
# is down.
HISTORY = "1d"
# A pod that was not scraped for this long is a new one.
MEMORY = "1h"


def pods(namespace: str, metric: str, *labels: str) -> str:
    """Return a selector of a metric, or of several separated by `|`, of all pods in a namespace."""
    tracks = f"{CANARY}|{CONTROL}|{STABLE}"
    job = service().name
    matchers = (f'__name__=~"{metric}"', f'job="{job}"', f'namespace="{namespace}"', f'track=~"{tracks}"')
    return f"{{{','.join((*matchers, *labels))}}}"


def targets(namespace: str) -> str:
    """Return a query for the number of pods by track that Prometheus scraped, or tried to, within a day."""
    return f"count by (track) (count_over_time({pods(namespace, 'up')}[{HISTORY}]))"


def last_counters(namespace: str) -> str:
    """Return a query for the last values of all counters, also of pods that are not scraped at the moment."""
    return f"last_over_time({pods(namespace, '|'.join(COUNTERS), SCORING)}[{MEMORY}])"


def counters(namespace: str, seconds: int) -> str:
    """Return a query for all samples of all counters, as they were scraped."""
    return f"{pods(namespace, '|'.join(COUNTERS), SCORING)}[{seconds}s]"


def models(namespace: str) -> str:
    """Return a query for what the pods report of their models: that they have one, and its baseline.

    One query, since a scrape that fails between two of them would make a model look as if it had no baseline.
    """
    return pods(namespace, f"{MODEL}|{EXPECTED_SHARES}|{BASELINE_ROWS}")
