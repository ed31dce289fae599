"""A card as one HTML file, without scripts and without files of other hosts."""

from collections.abc import Iterable
from html import escape

from model_loader.card.content import Card, CardTable

STYLE = """
:root { --paper: #fbfaf7; --ink: #1d1b18; --muted: #625d55; --line: #e3dfd6; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #141312; --ink: #ece8e0; --muted: #a8a297; --line: #33302c; } }
body { margin: 0 auto; max-width: 52rem; padding: 1.5rem clamp(1rem, 4vw, 2.5rem) 4rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: clamp(2rem, 7vw, 3rem); line-height: 1.05; margin: 0; }
h2 { font-size: 1.25rem; border-top: 1px solid var(--line); padding-top: 1.25rem; margin: 2rem 0 .75rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9375rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem 1.25rem .25rem 0; border-bottom: 1px solid var(--line); }
th, dt, code { color: var(--muted); }
dd { margin: 0 0 .75rem; }
p { white-space: pre-line; max-width: 42rem; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def to_html(card: Card) -> str:
    """Return the card as an HTML document."""
    parts = [f"<h1>{escape(card.title)}</h1>", f"<p><code>{escape(card.digest)}</code></p>"]
    parts += [_section(title, f"<p>{escape(text)}</p>") for title, text in card.paragraphs.items()]
    parts += [_section(title, _table(table)) for title, table in card.tables.items()]
    if card.facts:
        facts = "".join(
            f"<dt>{escape(name)}</dt><dd>{_linked(text, card.links.get(name))}</dd>"
            for name, text in card.facts
        )
        parts.append(_section("Training and lineage", f"<dl>{facts}</dl>"))
    if links := card.other_links():
        items = "".join(f"<li>{_linked(name, url)}</li>" for name, url in links.items())
        parts.append(_section("Links", f"<ul>{items}</ul>"))
    body = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="content-security-policy" content="{escape(POLICY)}">
<title>{escape(card.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _linked(text: str, url: str | None) -> str:
    return f'<a href="{escape(url)}" rel="noreferrer">{escape(text)}</a>' if url else escape(text)


def _table(table: CardTable) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "".join(f"<tr>{_cells(row)}</tr>" for row in table.rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cells(row: Iterable[str]) -> str:
    return "".join(f"<td>{escape(cell)}</td>" for cell in row)
