"""A chart of what happened to a model, above the quality of each version."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape

from monitor.history import PRODUCTION, STAGING, History, Span
from monitor.report.findings import Day

WIDTH, LEFT, RIGHT = 640, 112, 12
LANE, PLOT, AXIS = 26, 120, 26
# Kind of event → its mark in the lane of events.
MARKS: Mapping[str, str] = {
    "retraining asked": "↻", "published": "▲", "in production": "●", "released": "○", "rolled back": "◀",
    "withdrawn": "✕",
}  # fmt: skip
MARK_WIDTH = 15
Scale = Callable[[datetime], float]


def history_chart(
    history: History, days: Mapping[int, Sequence[Day]], metric: str, start: datetime, end: datetime
) -> str:
    """Return the chart of the time from `start` to `end`.

    Args:
        days: version → the main metric of each day.
    """

    def x(time: datetime) -> float:
        share = (time - start) / (end - start)
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, share))

    lanes = [
        (PRODUCTION, history.in_stage(PRODUCTION), "stage"), (STAGING, history.in_stage(STAGING), "stage"),
        ("canary", history.canaries, "stage"), ("alerts", history.alerts, "firing"),
    ]  # fmt: skip
    parts, top = [], 8.0
    for name, spans, class_ in lanes:
        shown = [each for each in spans if each.start < end and (each.end or end) > start]
        if shown:
            parts.append(_lane(name, shown, class_, x, top, end))
            top += LANE
    events = [each for each in history.events if start <= each.time <= end and each.kind in MARKS]
    if events:
        parts.append(_text(LEFT - 8, top + LANE * 0.65, "events", "end"))
        last = 0.0
        for each in events:
            title = f"{each.time:%Y-%m-%d %H:%M}: version {each.version} {each.kind}"
            # Marks of the same hour stand beside each other.
            last = max(x(each.time), last + MARK_WIDTH)
            parts.append(
                f'<text class="mark" x="{last:.1f}" y="{top + LANE * 0.65:.1f}" text-anchor="middle">'
                f"{MARKS[each.kind]}<title>{escape(title)}</title></text>"
            )
        top += LANE
    if any(day.measured for of_version in days.values() for day in of_version):
        parts.append(_quality(days, metric, x, top + 10, start, end))
        top += 10 + PLOT
    parts += _axis(start, end, x, top)
    height = top + AXIS
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="stages, events and {escape(metric)} over time">{"".join(parts)}</svg>'
    )


def _lane(name: str, spans: Sequence[Span], class_: str, x: Scale, top: float, end: datetime) -> str:
    parts = [_text(LEFT - 8, top + LANE * 0.65, name, "end")]
    for index, span in enumerate(spans):
        left, right = x(span.start), x(span.end or end)
        width = max(right - left - 1, 2.0)
        until = f"{span.end:%Y-%m-%d %H:%M}" if span.end else "now"
        title = f"{span.label}: {span.start:%Y-%m-%d %H:%M} to {until}"
        parts.append(
            f'<rect class="{class_}{" odd" if index % 2 else ""}" x="{left:.1f}" y="{top + 2:.1f}" '
            f'width="{width:.1f}" height="{LANE - 6}"><title>{escape(title)}</title></rect>'
        )
        label = span.label.replace("version ", "v")
        if width > 12 * len(label):
            parts.append(_text(left + 5, top + LANE * 0.65, label, "start", "on"))
    return "".join(parts)


def _quality(
    days: Mapping[int, Sequence[Day]], metric: str, x: Scale, top: float, start: datetime, end: datetime
) -> str:
    """Return the main metric of each version, the newest one in the accent's colour."""
    series = {
        version: [(day.date, day.measured) for day in of_version if day.measured and start <= day.date <= end]
        for version, of_version in days.items()
    }
    values = [measure.value for points in series.values() for _, measure in points]
    low, high = min(values), max(values)
    margin = (high - low) * 0.1 or max(abs(high) * 0.01, 1e-3)
    low, high = low - margin, high + margin

    def y(value: float) -> float:
        return top + PLOT * (1 - (value - low) / (high - low))

    parts = [_text(LEFT - 8, top + PLOT / 2 + 4, metric, "end")]
    for value in (low + margin, high - margin):
        height = f"{y(value):.1f}"
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{height}" x2="{WIDTH - RIGHT}" y2="{height}"/>')
        parts.append(_text(LEFT - 8, y(value) + 4, f"{value:.3g}", "end"))
    newest = max(series)
    for version, points in sorted(series.items()):
        class_ = "line" if version == newest else "line older"
        line = " ".join(f"{x(date):.1f},{y(measure.value):.1f}" for date, measure in points)
        parts.append(f'<polyline class="{class_}" points="{line}"/>')
        for date, measure in points:
            title = f"version {version}, {date:%Y-%m-%d}: {measure.value:.4g}, {measure.rows} labels"
            parts.append(
                f'<circle class="dot{"" if version == newest else " older"}" cx="{x(date):.1f}" '
                f'cy="{y(measure.value):.1f}" r="2.5"><title>{escape(title)}</title></circle>'
            )
        if points:
            date, measure = points[0]
            parts.append(_text(x(date), y(measure.value) - 8, f"v{version}", "start", "on line-label"))
    return "".join(parts)


def _axis(start: datetime, end: datetime, x: Scale, top: float) -> list[str]:
    parts = [f'<line class="grid" x1="{LEFT}" y1="{top:.1f}" x2="{WIDTH - RIGHT}" y2="{top:.1f}"/>']
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        time = start + (end - start) * share
        parts.append(_text(x(time), top + 18, f"{time:%d %b}", anchor))
    return parts


def _text(x: float, y: float, text: str, anchor: str, class_: str = "") -> str:
    attribute = f' class="{class_}"' if class_ else ""
    return f'<text{attribute} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
