"""`GET /recent` and `GET /recent/data` in the OpenAPI document."""

from typing import Any

from app.openapi import parts

NUMBER = {"type": "number"}
NUMBER_OR_NULL = {"type": ["number", "null"]}
TEXT_OR_NULL = {"type": ["string", "null"]}
COUNT = {"type": "integer", "minimum": 0}
COUNTS = {"type": "object", "additionalProperties": COUNT}
SERIES = ("requests", "client_errors", "server_errors", "shed", "queue_rows", "p50", "p95", "p99")


def paths() -> dict[str, Any]:
    """Return the paths."""
    return {
        "/recent": {
            "get": parts.get(
                "recent",
                "Get the state and the last hour",
                "The state of the service, counts since its start, and the last hour in steps: rates per "
                "second, the longest queue in rows, and quantiles of the duration in seconds.",
                parts.json(_recent()),
            )
        },
        "/recent/data": {
            "get": parts.get(
                "recent_data",
                "Get the data of the last hour",
                "Values by the baseline's bins in the last hour and in the last 15 minutes, and the model's "
                "quality as the monitor has measured it.",
                parts.json(_data()),
            )
        },
    }


def _recent() -> dict[str, Any]:
    hour = dict.fromkeys(SERIES[:4], COUNT) | dict.fromkeys(SERIES[5:], NUMBER_OR_NULL)
    series = {"type": "array", "items": NUMBER_OR_NULL}
    return parts.closed_object(
        {
            "state": {"enum": ["ready", "draining"]},
            "draining_since": NUMBER_OR_NULL,
            "time": NUMBER,
            "started": NUMBER,
            "pod": {"type": "string"},
            "version": {"type": "string"},
            "digest": {"type": "string"},
            "workers": COUNT,
            "stage": TEXT_OR_NULL,
            "release": TEXT_OR_NULL,
            "problem": TEXT_OR_NULL,
            "callers": COUNTS,
            "rejected": COUNTS,
            "source": {"enum": ["service", "prometheus"]},
            "from": COUNT,
            "step_s": COUNT,
            "steps": parts.closed_object(dict.fromkeys(SERIES, series)),
            "hour": parts.closed_object(hour),
        }
    )


def _data() -> dict[str, Any]:
    windows = parts.closed_object({"1h": COUNT, "15m": COUNT})
    counts = {"type": "array", "items": COUNT}
    distribution = parts.closed_object(
        {
            "kind": {"enum": ["feature", "output"]},
            "name": {"type": "string"},
            "bins": {"type": "array", "items": {"type": "string"}},
            "expected": {"type": "array", "items": NUMBER},
            "1h": counts,
            "15m": counts,
        }
    )
    return parts.closed_object(
        {
            "pod": {"type": "string"},
            "from": COUNT,
            "baseline_rows": {"type": ["integer", "null"]},
            "rows": windows,
            "distributions": {"type": "array", "items": distribution},
            "quality": {"type": "array", "items": {"type": "object"}},
            "problem": TEXT_OR_NULL,
        }
    )
