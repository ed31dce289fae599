"""A lineage as one HTML file, without scripts and without parts from other hosts."""

from html import escape

from monitor.lineage.links import Lineage, Link
from monitor.lineage.text import summary
from monitor.report.style import STYLE

CLASSES = {"broken": "alarm", "unavailable": "warn"}
OWN_STYLE = """
table.lineage th { width: 9rem; font-weight: 600; color: var(--ink); }
table.lineage td:nth-child(2) { width: 6rem; }
@media (max-width: 36rem) {
  table.lineage, table.lineage :is(tbody, tr, th, td) { display: block; width: auto; }
  table.lineage :is(th, td) { border: 0; padding: .1rem 0; }
  table.lineage td:nth-child(2) { width: auto; }
  table.lineage tr { border-bottom: 1px solid var(--line); padding: .5rem 0; }
}
"""


def render_page(lineage: Lineage) -> str:
    """Return the page."""
    rows = "".join(_row(link) for link in lineage.links)
    title = f"Lineage of {lineage.query}"
    class_ = "alarm" if lineage.broken else "muted"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}{OWN_STYLE}</style></head>\n"
        f'<body><header><h1>Lineage</h1><p class="muted">of {escape(lineage.query)}</p>'
        f'<p class="{class_}">{escape(summary(lineage))}</p></header>\n'
        f"<main><section><table class=lineage>{rows}</table></section></main></body></html>\n"
    )


def _row(link: Link) -> str:
    texts = [f"<div>{escape(link.text)}</div>"] if link.text else []
    if link.reason:
        texts.append(f"<small>{escape(link.reason)}</small>")
    texts += [f"<div class=alarm>{escape(str(problem))}</div>" for problem in link.problems]
    class_ = CLASSES.get(link.state, "muted")
    return (
        f'<tr><th scope=row>{escape(link.name)}<td><span class="{class_}">{escape(link.state)}</span>'
        f"<td>{''.join(texts)}</tr>"
    )
