"""The report's HTML."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape

from model_loader.text_tables import number
from monitor.drift import CHANGED, TOO_FEW
from monitor.history import History
from monitor.measures import Measure
from monitor.quality import WindowQuality
from monitor.report import charts
from monitor.report.findings import Findings
from monitor.report.history import history_section
from monitor.report.style import STYLE

MAIN_METRICS = ("accuracy", "precision", "recall", "macro_f1", "log_loss", "brier", "calibration_error",
                "mae", "rmse", "bias", "r2")  # fmt: skip
# Population stability index: https://doi.org/10.5539/ijsp.v12n1p1, the rule of thumb of its introduction.
# A loss is better if it is lower.
LOSSES = ("mae",)
CONCEPT_DRIFT = (
    "An estimate expects that the same inputs still mean the same. If what is true for them has changed, "
    "which is called concept drift, it stays high while the model is wrong. Only labels show that."
)


def render(findings: Findings, history: History | None = None) -> str:
    """Return the report as one HTML file.

    Args:
        history: what happened to the model; None: not known.
    """
    quality = findings.quality
    title = f"{quality.name} in production"
    sections = (
        history_section(findings, history or History()), _summary(findings), _over_time(findings),
        _calibration(findings), _slices(findings),
        _business(findings), _changes(findings), _worst(findings), _labels(findings),
    )  # fmt: skip
    versions = ", ".join(f"version {version}" for version in sorted(quality.targets, reverse=True))
    head = (
        f"<h1>{escape(title)}</h1><p class=muted>{escape(versions)} · "
        f"up to {quality.at:%Y-%m-%d %H:%M} UTC · each figure with its interval of 95 %</p>"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><header>{head}</header>\n<main>\n{chr(10).join(filter(None, sections))}\n</main>"
        "</body></html>\n"
    )


def _summary(findings: Findings) -> str:
    quality = findings.quality
    tables = _by_version(findings, _quality_measures)
    if not tables:
        text = "There are no labels yet, and no probabilities to estimate the quality from."
        tables = f"<p>{text}</p>"
    estimated = any(each.estimates and not each.has_enough_labels for each in quality.windows)
    note = f'<p class="note">{CONCEPT_DRIFT}</p>' if estimated else ""
    for version, fault in quality.faults.items():
        note += f'<p class="note">Version {version} is not measured: {escape(fault)}.</p>'
    missing = [
        version
        for version, target in quality.targets.items()
        if target is None and version not in quality.faults
    ]
    if missing:
        note += (
            f'<p class="note">Nothing says what the labels of version {", ".join(map(str, missing))} are the '
            "truth of: publish it with a schema.json, or declare it in monitor.toml.</p>"
        )
    return _section("Quality", tables + note)


def _quality_measures(window: WindowQuality) -> list[Measure]:
    """Return the measures of a window, and its estimates if there are too few labels."""
    measures = {measure.metric: measure for measure in window.measured.measures}
    shown = [measures[name] for name in MAIN_METRICS if name in measures]
    return shown if window.has_enough_labels else [*shown, *window.estimates]


def _by_version(findings: Findings, select: Callable[[WindowQuality], Sequence[Measure]]) -> str:
    """Return a table for each version, with a line for each metric and a column for each window."""
    parts = []
    for version in sorted(findings.quality.targets, reverse=True):
        windows = [each for each in findings.quality.windows if each.version == version]
        cells = {(measure.metric, each.window): measure for each in windows for measure in select(each)}
        if not cells:
            continue
        # In the order of the longest window, which has most of them.
        names = dict.fromkeys(measure.metric for each in reversed(windows) for measure in select(each))
        head = "".join(f"<th class=number>{escape(each.window)}" for each in windows)
        lines = "".join(
            f"<tr><td>{escape(name.replace('_', ' '))}"
            + "".join(f"<td class=number>{_cell(cells.get((name, each.window)))}" for each in windows)
            + "</tr>"
            for name in names
        )
        parts.append(f"<h3>version {version}</h3><table><tr><th>metric{head}</tr>{lines}</table>")
    return "".join(parts)


def _cell(measure: Measure | None) -> str:
    if measure is None:
        return "<span class=muted>–</span>"
    text = escape(number(measure.value))
    if measure.low is not None and measure.high is not None:
        text += f"<br><small>{number(measure.low)} to {number(measure.high)}</small>"
    return text


def _over_time(findings: Findings) -> str:
    figures = []
    for version in sorted(findings.days, reverse=True):
        metric = findings.main[version]
        if chart := charts.over_time(findings.days[version], metric):
            estimated = any(day.estimated for day in findings.days[version])
            caption = f"version {version}: {metric}{', estimate dashed' if estimated else ''}"
            figures.append(_chart(caption, chart))
    return _section("Over time", "".join(figures)) if figures else ""


def _calibration(findings: Findings) -> str:
    figures = [
        _chart(f"version {each.version}", charts.reliability(each.measured.reliability))
        for each in _longest(findings)
        if each.measured.reliability
    ]
    text = (
        "<p>Share of right answers by confidence. On the line, a confidence of 0.8 is right in 80 % of the "
        "rows.</p>"
    )
    return _section("Reliability", text + f'<div class="row">{"".join(figures)}</div>') if figures else ""


def _slices(findings: Findings) -> str:
    found = []
    for each in _longest(findings):
        metric = findings.main.get(each.version, "")
        for name, values in each.slices.items():
            for value, group in values.items():
                found += [
                    (each.version, f"{name} = {value}", m) for m in group.measures if m.metric == metric
                ]
    if not found:
        return ""
    found.sort(key=lambda item: item[2].value if item[2].metric not in LOSSES else -item[2].value)
    lines = [
        (f"version {version}", name, measure.metric, _figure(measure), str(measure.rows))
        for version, name, measure in found
    ]
    return _section("Slices, worst first", _table(("", "slice", "metric", "value", "rows"), lines, numeric=2))


def _business(findings: Findings) -> str:
    tables = _by_version(findings, lambda window: window.business)
    return _section("Business metrics", tables) if tables else ""


def _changes(findings: Findings) -> str:
    parts = []
    for version in sorted(findings.changes, reverse=True):
        changes = findings.changes[version]
        if changes is None:
            parts.append(f"<h3>version {version}</h3><p>Its package has no baseline to compare with.</p>")
            continue
        lines = []
        for change in changes:
            level = "alarm" if change.verdict == CHANGED else "muted"
            number = "" if change.verdict == TOO_FEW else f"{change.psi:.3f}<br>"
            lines.append(
                f"<tr><td>{escape(change.name)}<br><small>{change.kind}</small><td>{charts.shares(change)}"
                f'<td class="number">{number}<small class="{level}">{change.verdict}</small></tr>'
            )
        table = "<table><tr><th>name<th>shares: outlined in training, filled now"
        table += "<th class=number>PSI above chance</tr>"
        parts.append(f"<h3>version {version}</h3>{table}{''.join(lines)}</table>")
    return _section("Changed since training", "".join(parts)) if parts else ""


def _worst(findings: Findings) -> str:
    lines = [
        (
            f"version {row.version}",
            row.time,
            f"{row.id} / {row.row}",
            row.truth,
            row.predicted,
            number(row.error),
        )
        for row in findings.worst
    ]
    header = ("", "time", "id / row", "truth", "predicted", "error")
    text = "<p>The error of a class is its log loss, that of a number the distance from the truth.</p>"
    return _section("Most wrong", text + _table(header, lines, numeric=1)) if lines else ""


def _labels(findings: Findings) -> str:
    header = (
        "",
        "window",
        "predictions",
        "failures",
        "labelled",
        "late",
        "double",
        "conflicting",
        "of undeclared classes",
        "median delay",
    )
    lines = [
        (f"version {each.version}", each.window,
         *(f"{count:,}" for count in (counts.predictions, counts.failures)),
         f"{counts.labelled:,} ({counts.coverage.value:.1%})",
         *(f"{count:,}" for count in (counts.late, counts.double, counts.conflicting, counts.undeclared)),
         _duration(counts.median_delay_s))
        for each in findings.quality.windows
        for counts in (each.counts,)
    ]  # fmt: skip
    unmatched = ", ".join(f"{count:,} in {window}" for window, count in findings.quality.unmatched.items())
    text = f"Labels of no captured prediction: {unmatched}. Of several labels, the last counts."
    note = f"<p><small>{escape(text)}</small></p>"
    return _section("Predictions and labels", _table(header, lines, numeric=8) + note)


def _longest(findings: Findings) -> Iterator[WindowQuality]:
    return (each for each in findings.quality.windows if each.window == findings.window)


def _chart(caption: str, chart: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{chart}</figure>"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _table(header: Sequence[str], lines: Iterable[Sequence[str]], numeric: int) -> str:
    """Return a table whose last `numeric` columns are aligned to the right."""
    first = len(header) - numeric

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=number' if index >= first else ''}>{escape(text)}"
            for index, text in enumerate(texts)
        )

    rows = "".join(f"<tr>{cells('td', line)}</tr>" for line in lines)
    return f"<div class=scroll><table><tr>{cells('th', header)}</tr>{rows}</table></div>"


def _figure(measure: Measure) -> str:
    text = number(measure.value)
    if measure.low is not None and measure.high is not None:
        text += f" [{number(measure.low)}, {number(measure.high)}]"
    return text


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
