"""`/metrics`: the metrics of all workers.

https://prometheus.io/docs/instrumenting/exposition_formats/
https://prometheus.github.io/client_python/multiprocess/
"""

from flask import Blueprint, Response, request
from prometheus_client.exposition import choose_encoder
from prometheus_flask_exporter import PrometheusMetrics

from app.service import Service


def blueprint(service: Service, exporter: PrometheusMetrics) -> Blueprint:
    """Return the route `/metrics`.

    Args:
        exporter: is told not to count these requests.
    """
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    @exporter.do_not_track()  # type: ignore[untyped-decorator]
    def metrics() -> Response:
        registry = service.metrics.of_all_workers()
        names = request.args.getlist("name[]")
        try:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
        except (TypeError, ValueError):  # the version that is asked for is not a number
            encode, content_type = choose_encoder("")
        text = encode(registry.restricted_registry(names) if names else registry)
        return Response(text, content_type=content_type)

    return routes
