"""A card in Markdown, with the head that model hubs read.

https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

import json
import re
from html import escape

from model_loader.card.content import Card, CardTable


def to_markdown(card: Card) -> str:
    """Return the card as a Markdown document."""
    # YAML has JSON's objects, lists and texts, so this head is YAML too.
    head = "\n".join(f"{name}: {json.dumps(value)}" for name, value in card.metadata.items())
    parts = [f"---\n{head}\n---\n\n# {_escaped(card.title)}\n\n`{card.digest}`"]
    parts += [f"## {title}\n\n{_escaped(text)}" for title, text in card.paragraphs.items()]
    parts += [f"## {title}\n\n{_table(table)}" for title, table in card.tables.items()]
    if card.facts:
        facts = "\n".join(f"- **{name}**: {_linked(text, card.links.get(name))}" for name, text in card.facts)
        parts.append(f"## Training and lineage\n\n{facts}")
    if links := card.other_links():
        items = "\n".join(f"- {_linked(name, url)}" for name, url in links.items())
        parts.append(f"## Links\n\n{items}")
    return "\n\n".join(parts) + "\n"


def _linked(text: str, url: str | None) -> str:
    return f"[{_escaped(text)}](<{url}>)" if url else _escaped(text)


def _table(table: CardTable) -> str:
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text if text == "---" else " ".join(_escaped(text).split())


def _escaped(text: str) -> str:
    """Escape what Markdown or HTML would take for markup: a package's texts are somebody's."""
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", escape(text, quote=False))
