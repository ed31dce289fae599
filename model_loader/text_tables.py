"""Text tables for the terminal."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format rows as lines with aligned columns, below a header."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def short(digest: str) -> str:
    """Shorten a digest to `sha256:` and its first twelve digits."""
    return digest[:19]


def number(value: float | None) -> str:
    """Format a metric with four digits, None as a dash."""
    return "-" if value is None else f"{value:.4g}"
