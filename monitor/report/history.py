"""The section of the report on what happened to the model."""

from datetime import datetime
from html import escape

from model_loader.text_tables import number
from monitor.history import Event, History, Span
from monitor.report.findings import Findings
from monitor.report.history_chart import MARKS, history_chart

MAX_EVENTS = 30
ALARMING = ("rolled back", "staging rolled back", "withdrawn", "retraining asked")
# Kind of event → how the list names it, where the version is not what it happened to.
PHRASES = {
    "rolled back": "rolled back to version {}",
    "staging rolled back": "staging rolled back to version {}",
    "retraining asked": "retraining asked, with version {} in production",
}


def history_section(findings: Findings, history: History) -> str:
    """Return the chart of the longest window, and the list of events, newest first; empty without events."""
    if not history.events:
        return ""
    end = findings.quality.at
    metric = findings.main[max(findings.main)] if findings.main else "quality"
    chart = history_chart(history, findings.days, metric, end - findings.length, end)
    lines = [(event.time, _event_line(event, findings)) for event in history.events]
    lines += [(span.start, _span_line(f"canary of {span.label}", span)) for span in history.canaries]
    lines += [
        (span.start, _span_line(f"alert {span.label}", span, is_alarming=True)) for span in history.alerts
    ]
    newest = sorted(lines, key=lambda line: line[0], reverse=True)
    items = "".join(_item(time, html) for time, html in newest[:MAX_EVENTS])
    left = len(lines) - MAX_EVENTS
    more = f"<p class=muted>and {left} earlier events, in the ledger</p>" if left > 0 else ""
    legend = ", ".join(f"{mark} {kind}" for kind, mark in MARKS.items())
    note = f'<p class="note">{escape(history.failure)}</p>' if history.failure else ""
    return (
        f"<section><h2>History</h2><figure>{chart}<figcaption>{legend}</figcaption></figure>"
        f"{note}<ol class=history>{items}</ol>{more}</section>"
    )


def _event_line(event: Event, findings: Findings) -> str:
    what = PHRASES.get(event.kind, f"version {{}} {event.kind}").format(event.version)
    notes = [event.note, _evaluation(event.version, findings) if event.kind == "published" else ""]
    return _line(what, f" by {event.by}", "; ".join(filter(None, notes)), event.kind in ALARMING)


def _span_line(what: str, span: Span, *, is_alarming: bool = False) -> str:
    return _line(what, "", f"until {span.end:%Y-%m-%d %H:%M}" if span.end else "still", is_alarming)


def _evaluation(version: int, findings: Findings) -> str:
    """Return the metrics by which the gate let a version pass, from its manifest."""
    info = findings.quality.infos.get(version)
    metrics = info.manifest.metrics if info and info.manifest else {}
    return ", ".join(f"{name} {number(value)}" for name, value in metrics.items())


def _line(what: str, by: str, note: str, is_alarming: bool) -> str:
    class_ = ' class="alarm"' if is_alarming else ""
    small = f"<br><small>{escape(note)}</small>" if note else ""
    return f"<strong{class_}>{escape(what)}</strong>{escape(by)}{small}"


def _item(time: datetime, html: str) -> str:
    return f'<li><time datetime="{time.isoformat()}">{time:%Y-%m-%d %H:%M}</time><span>{html}</span></li>'
