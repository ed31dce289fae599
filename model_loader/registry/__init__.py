"""Versions and stages of models in a store, and drafts of new ones.

from model_loader.registry import draft

draft(pipeline, x_test, y_test, name="wine", out="build/wine")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_loader.drafting.in_memory import draft

__all__ = ["draft"]


def __getattr__(name: str) -> Any:
    """Import `draft` when it is used first: it needs NumPy, and a pull should start without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from model_loader.drafting.in_memory import draft

    return draft
