"""A replay as one HTML file."""

from collections.abc import Sequence
from html import escape

from monitor.replay import Replay
from monitor.replay_gate import Check
from monitor.report.replay_tables import CHECK_HEADER, check_lines, summary, tables
from monitor.report.style import STYLE


def render_replay(found: Replay, checks: Sequence[Check]) -> str:
    """Return the page."""
    title = f"Replay of {found.candidate}"
    sections = [_section("Gate", CHECK_HEADER, check_lines(checks))] if checks else []
    sections += [_section(heading, header, lines) for heading, header, lines in tables(found) if lines]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><header><h1>Replay</h1><p class=muted>{escape(summary(found))}</p></header>\n"
        f"<main>\n{chr(10).join(sections)}\n</main></body></html>\n"
    )


def _section(heading: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(each.capitalize())}" for each in header)
    body = "".join("<tr>" + "".join(f"<td>{_cell(cell)}" for cell in line) + "</tr>" for line in lines)
    return (
        f"<section><h2>{escape(heading)}</h2><div class=scroll><table><tr>{head}</tr>{body}</table></div>"
        "</section>"
    )


def _cell(text: str) -> str:
    return f"<span class=alarm>{escape(text)}</span>" if text.startswith("FAILED") else escape(text)
