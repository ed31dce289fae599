"""A lineage as a table, and as JSON."""

from typing import Any

from model_loader.text_tables import table
from monitor.lineage.links import Lineage, Link

MAX_TEXT = 160


def to_text(lineage: Lineage) -> str:
    """Return a table of the links, then each broken one, and each source that is unavailable."""
    rows = [(link.name, link.state, _cell(link)) for link in lineage.links]
    lines = [table(("LINK", "STATE", ""), rows)]
    lines += [f"unavailable: {link.name}: {link.reason}" for link in lineage.unavailable]
    lines += [f"broken: {name}: {problem}" for name, problem in lineage.broken]
    return "\n".join([*lines, summary(lineage)])


def _cell(link: Link) -> str:
    """Return the text of a link; why a source is unavailable is below the table."""
    text = link.text or (link.reason if link.state == "none" else "")
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def summary(lineage: Lineage) -> str:
    """Return one sentence on the whole lineage."""
    if broken := len({name for name, _ in lineage.broken}):
        return f"{lineage.model}: {broken} of {len(lineage.links)} links broken"
    if lineage.unavailable:
        return f"{lineage.model}: no link is broken; {len(lineage.unavailable)} unavailable"
    return f"{lineage.model}: no link is broken"


def to_json(lineage: Lineage) -> dict[str, Any]:
    """Return a document with every link."""
    return {
        "query": lineage.query,
        "model": lineage.model,
        "broken": sorted({name for name, _ in lineage.broken}),
        "unavailable": [link.name for link in lineage.unavailable],
        "links": {
            link.name: {
                "state": link.state,
                "text": link.text,
                "reason": link.reason,
                "facts": link.facts,
                "problems": [vars(problem) for problem in link.problems],
            }
            for link in lineage.links
        },
    }
