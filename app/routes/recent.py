"""`/recent` and `/recent/data`: the state of the service and its last hour, for the page at `/`."""

import socket
from dataclasses import asdict
from time import time
from typing import Any

from flask import Blueprint, Response, jsonify

from app.observability.prometheus_history import PrometheusError
from app.observability.statistics import read_totals
from app.service import Service


def blueprint(service: Service) -> Blueprint:
    """Return the routes. They say little more than `/metrics`, so they need no key either."""
    routes = Blueprint("recent", __name__)
    settings, prometheus, model = service.settings, service.prometheus, service.model

    @routes.get("/recent")
    def recent() -> Response:
        service.metrics.refresh_gauges()
        totals = read_totals(service.metrics)
        problem = None
        hour = None
        if prometheus:
            try:
                hour = prometheus.last_hour()
            except PrometheusError as exc:
                problem = str(exc)
        state = {
            "state": "draining" if service.draining.is_set() else "ready",
            "draining_since": service.draining.since,
            "time": time(),
            "pod": socket.gethostname(),
            "version": model.version,
            "digest": model.package.digest,
            "workers": settings.web_concurrency,
            "stage": settings.stage,
            "release": settings.release,
            "problem": problem,
        }
        return jsonify(state | asdict(totals) | (hour or service.metrics.recent.last_hour(totals.started)))

    @routes.get("/recent/data")
    def data() -> Response:
        quality: list[dict[str, Any]] = []
        problem = None
        if prometheus:
            try:
                quality = prometheus.quality()
            except PrometheusError as exc:
                problem = str(exc)
        about = {"pod": socket.gethostname(), "quality": quality, "problem": problem}
        return jsonify(service.drift.recent.windows() | about)

    return routes
