"""Charts as SVG in the page itself, with the colours of the page's style."""

from collections.abc import Callable, Sequence
from html import escape

from monitor.drift import Change
from monitor.measures import ReliabilityBin
from monitor.report.findings import Day

WIDTH, HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 28
BAR_WIDTH, BAR_HEIGHT = 180, 44


def over_time(days: Sequence[Day], metric: str) -> str:
    """Return a chart of a metric with its band, and of its estimate, dashed; empty without values."""
    measured = [(index, each.measured) for index, each in enumerate(days) if each.measured]
    estimated = [(index, each.estimated) for index, each in enumerate(days) if each.estimated]
    shown = [measure for _, measure in (*measured, *estimated)]
    if not shown:
        return ""
    values = [value for each in shown for value in (each.low, each.value, each.high) if value is not None]
    low, high = _padded(min(values), max(values), is_share=metric == "accuracy")

    def x(index: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / len(days)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low))

    parts = [_grid(low, high, y)]
    upper = [f"{x(i):.1f},{y(m.high):.1f}" for i, m in measured if m.high is not None and m.low is not None]
    lower = [f"{x(i):.1f},{y(m.low):.1f}" for i, m in measured if m.high is not None and m.low is not None]
    if len(upper) > 1:
        parts.append(f'<polygon class="band" points="{" ".join([*upper, *reversed(lower)])}"/>')
    elif upper:
        (index, measure), *_ = [each for each in measured if each[1].high is not None]
        parts.append(_whisker(x(index), y(measure.low or 0.0), y(measure.high or 0.0)))
    for class_, series in (("estimate", estimated), ("line", measured)):
        points = " ".join(f"{x(i):.1f},{y(m.value):.1f}" for i, m in series)
        parts.append(f'<polyline class="{class_}" points="{points}"/>')
    # A line of one point is invisible.
    for index, measure in (*(estimated if len(estimated) == 1 else ()), *measured):
        kind = "rows, estimated" if measure.is_estimate else "labels"
        title = f"{days[index].date:%Y-%m-%d %H:%M}: {measure.value:.4g}, {measure.rows} {kind}"
        class_ = "dot older" if measure.is_estimate else "dot"
        parts.append(
            f'<circle class="{class_}" cx="{x(index):.1f}" cy="{y(measure.value):.1f}" r="2.5">'
            f"<title>{escape(title)}</title></circle>"
        )
    for index in sorted({0, len(days) // 2, len(days) - 1}):
        time = f"{days[index].date:%d %b %H:%M}".removesuffix(" 00:00")
        parts.append(_text(x(index), HEIGHT - 8, time, "middle"))
    return _svg(WIDTH, HEIGHT, f"{metric} over time", parts)


def reliability(bins: Sequence[ReliabilityBin]) -> str:
    """Return a chart of the share of right answers by confidence, and the diagonal of perfect calibration."""
    size, left, bottom = 260, 40, 36

    def x(value: float) -> float:
        return left + (size - left - 10) * value

    def y(value: float) -> float:
        return 10 + (size - bottom - 10) * (1 - value)

    largest = max(each.rows for each in bins)
    parts = [f'<line class="ideal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>']
    for value in (0, 0.5, 1):
        parts.append(f'<line class="grid" x1="{x(0)}" y1="{y(value)}" x2="{x(1)}" y2="{y(value)}"/>')
        parts.append(_text(x(0) - 6, y(value) + 4, f"{value:g}", "end"))
        parts.append(_text(x(value), size - bottom + 16, f"{value:g}", "middle"))
    parts.append(_text(x(0.5), size - 4, "confidence", "middle"))
    for each in bins:
        centre, radius = x(each.confidence), 2 + 4 * (each.rows / largest) ** 0.5
        title = f"confidence {each.confidence:.3f}: {each.accuracy:.3f} right, {each.rows} rows"
        parts.append(_whisker(centre, y(each.low), y(each.high)))
        parts.append(
            f'<circle class="dot" cx="{centre:.1f}" cy="{y(each.accuracy):.1f}" '
            f'r="{radius:.1f}"><title>{escape(title)}</title></circle>'
        )
    return _svg(size, size, "share of right answers by confidence", parts, "square")


def shares(change: Change) -> str:
    """Return a chart of the shares of each bin in training, as outlines, and now, as bars."""
    bins = [each for index, each in enumerate(change.bins) if index < len(change.bins) - 2 or each[2] > 0]
    largest = max(max(expected, found) for _, expected, found in bins) or 1.0
    step = BAR_WIDTH / len(bins)
    parts = []
    for index, (name, expected, found) in enumerate(bins):
        title = f"<title>{escape(name)}: {expected:.3f} in training, {found:.3f} now</title>"
        for class_, share in (("now", found), ("trained", expected)):
            height = (BAR_HEIGHT - 2) * share / largest
            parts.append(
                f'<rect class="{class_}" x="{index * step + 0.5:.1f}" y="{BAR_HEIGHT - height - 0.5:.1f}" '
                f'width="{max(step - 1.5, 1):.1f}" height="{height:.1f}">{title}</rect>'
            )
    return _svg(BAR_WIDTH, BAR_HEIGHT, f"shares of {change.name} in training and now", parts, "bars")


def _whisker(x: float, low: float, high: float) -> str:
    return f'<line class="whisker" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}"/>'


def _grid(low: float, high: float, y: Callable[[float], float]) -> str:
    lines = []
    for step in range(5):
        value = low + (high - low) * step / 4
        height = f"{y(value):.1f}"
        lines.append(f'<line class="grid" x1="{LEFT}" y1="{height}" x2="{WIDTH - RIGHT}" y2="{height}"/>')
        lines.append(_text(LEFT - 6, y(value) + 4, f"{value:.3g}", "end"))
    return "".join(lines)


def _padded(low: float, high: float, *, is_share: bool) -> tuple[float, float]:
    margin = max((high - low) * 0.1, 1e-3 if is_share else abs(high) * 1e-3 or 1e-3)
    low, high = low - margin, high + margin
    return (max(0.0, low), min(1.0, high)) if is_share else (low, high)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: int, height: int, label: str, parts: Sequence[str], class_: str = "chart") -> str:
    return (
        f'<svg class="{class_}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
