"""Tables for people."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with aligned columns, the header first."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def short(digest: str) -> str:
    """As much of a digest as tells models apart: `sha256:` and twelve digits."""
    return digest[:19]


def number(value: float | None) -> str:
    """A metric, or a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"
