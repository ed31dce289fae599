"""The quality as metrics in the text format of Prometheus.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from collections.abc import Iterator, Mapping

from monitor.measures import Measure
from monitor.quality import Quality, WindowQuality

# Metric → its description; all are gauges.
HELP: Mapping[str, str] = {
    "model_quality": "Measure of a version's predictions in a window; bound is value, or low or high of an "
    "interval of 95 %.",
    "model_quality_rows": "Rows that a measure is made of.",
    "model_quality_limit": "Limit of a measure of a version: a floor, or production's own gate.",
    "model_quality_slice": "The same as model_quality, of a slice.",
    "model_business": "Business metric of a version's predictions in a window.",
    "model_business_limit": "Limit of a business metric in the longest window.",
    "model_labels": "Predictions of a version in a window by the state of their label.",
    "model_label_coverage_ratio": "Share of a version's predictions in a window that have a label.",
    "model_label_delay_seconds": "Median delay of the labels of a version's predictions in a window.",
    "model_labels_unmatched": "Labels that came in a window and are of no captured prediction.",
    "monitor_last_success_timestamp_seconds": "When the metrics were calculated, in seconds since the epoch.",
    "monitor_duration_seconds": "Time that the calculation took.",
    "monitor_up": "1 if the last calculation succeeded.",
}
# Name, labels, value.
Line = tuple[str, dict[str, str], float]
BOUNDS = ("value", "low", "high")
# Other measures of slices are not exported, to limit the number of series.
SLICE_METRICS = ("accuracy", "macro_f1", "mae")


def exposition(quality: Quality | None, *, success_s: float | None, duration_s: float, is_up: bool) -> str:
    """Return the metrics.

    Args:
        quality: the last that was calculated; None: none yet.
        success_s: when, in seconds since the epoch.
        duration_s: how long the last calculation took.
        is_up: whether it succeeded.
    """
    lines: list[Line] = [("monitor_up", {}, float(is_up)), ("monitor_duration_seconds", {}, duration_s)]
    if success_s is not None:
        lines.append(("monitor_last_success_timestamp_seconds", {}, success_s))
    if quality:
        lines += _quality_lines(quality)
    texts = []
    for metric, text in HELP.items():
        own = [(labels, value) for name, labels, value in lines if name == metric]
        if own:
            texts.append(f"# HELP {metric} {text}\n# TYPE {metric} gauge\n")
            texts += [f"{metric}{_labels(labels)} {value!r}\n" for labels, value in own]
    return "".join(texts)


def _quality_lines(quality: Quality) -> Iterator[Line]:
    for window, count in quality.unmatched.items():
        yield "model_labels_unmatched", {"name": quality.name, "window": window}, float(count)
    yield from _limit_lines(quality)
    for each in quality.windows:
        yield from _window_lines(each, _window_labels(quality, each))


def _limit_lines(quality: Quality) -> Iterator[Line]:
    for version, limits in quality.limits.items():
        for limit in limits:
            labels = {"name": quality.name, "version": str(version), "metric": limit.metric}
            labels |= {"side": limit.side, "source": limit.source}
            yield "model_quality_limit", labels, float(limit.value)
    # In a short window many predictions have no feedback yet, which counts as 0.
    for metric in quality.business:
        for side, bound in (("min", metric.minimum), ("max", metric.maximum)):
            if bound is not None:
                labels = {"name": quality.name, "window": quality.longest_window, "metric": metric.name}
                yield "model_business_limit", labels | {"side": side}, float(bound)


def _window_labels(quality: Quality, window: WindowQuality) -> dict[str, str]:
    return {"name": quality.name, "version": str(window.version), "window": window.window}


def _window_lines(window: WindowQuality, labels: dict[str, str]) -> Iterator[Line]:
    counts = window.counts
    states = {
        "predictions": counts.predictions, "failures": counts.failures, "labelled": counts.labelled,
        "late": counts.late, "double": counts.double, "conflicting": counts.conflicting,
        "undeclared": counts.undeclared,
    }  # fmt: skip
    for state, count in states.items():
        yield "model_labels", labels | {"state": state}, float(count)
    yield "model_label_coverage_ratio", labels, counts.coverage.value
    if counts.median_delay_s is not None:
        yield "model_label_delay_seconds", labels, counts.median_delay_s
    estimates = () if window.has_enough_labels else window.estimates
    for measure in (*window.measured.measures, *estimates):
        # Those of each class are for the report: a series each would be too many.
        if " " not in measure.metric:
            of_measure = labels | {"metric": measure.metric}
            yield from _bounds("model_quality", measure, of_measure)
            yield "model_quality_rows", of_measure, float(measure.rows)
    for measure in window.business:
        yield from _bounds("model_business", measure, labels | {"metric": measure.metric})
    for slice_, values in window.slices.items():
        for value, group in values.items():
            for measure in group.measures:
                if measure.metric in SLICE_METRICS:
                    of_slice = labels | {"metric": measure.metric, "slice": slice_, "value": value}
                    yield from _bounds("model_quality_slice", measure, of_slice)


def _bounds(metric: str, measure: Measure, labels: dict[str, str]) -> Iterator[Line]:
    for bound in BOUNDS:
        value: float | None = getattr(measure, bound)
        if value is not None:
            yield metric, labels | {"bound": bound}, float(value)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
