"""The model's card: what a package says of its model, for people and for model hubs."""

from model_loader.card.content import Card, read_card
from model_loader.card.html import to_html
from model_loader.card.markdown import to_markdown

__all__ = ["Card", "read_card", "to_html", "to_markdown"]
