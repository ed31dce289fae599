"""The alerts that a Prometheus server has firing, and that ask for a training by the label `retrain="yes"`.

https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/#inspecting-alerts-during-runtime
"""

import json

from model_loader.package.service_file import service
from monitor.prometheus_client import query, unexpected


def firing_alerts(url: str, name: str) -> list[str]:
    """Return the names of the firing alerts about a model, sorted.

    Args:
        url: of the server, as in `monitor.prometheus_client.query`.
        name: of the model.

    Raises:
        AlertsError: the server is unreachable, or does not answer like Prometheus.
    """
    jobs = f"{service().name}|{service().name}-monitor"
    labels = f'alertstate="firing", retrain="yes", job=~"{jobs}", name={json.dumps(name)}'
    found = query(url, f"ALERTS{{{labels}}}")
    try:
        return sorted({str(series["metric"]["alertname"]) for series in found})
    except (TypeError, LookupError) as exc:
        raise unexpected(url, repr(exc)) from exc
