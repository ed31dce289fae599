"""Text tables for the terminal."""

import re
from collections.abc import Sequence

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Pipelines obey such text in their log: Azure's anywhere in a line, GitHub's at its beginning.
# https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands
# https://docs.github.com/actions/reference/workflow-commands-for-github-actions
COMMAND = re.compile(r"##(?=\[|vso\[)|^\s*::")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format rows as lines with aligned columns, below a header."""
    # A reason in the ledger is somebody's text: it neither breaks the table nor controls the terminal.
    lines = [header, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def printable(text: str) -> str:
    """Replace control characters, as of a terminal, and commands to a pipeline by escape sequences."""
    text = CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return COMMAND.sub(lambda found: f"{found[0][:-1]}\\x{ord(found[0][-1]):02x}", text)


def short(digest: str) -> str:
    """Shorten a digest to `sha256:` and its first twelve digits."""
    return digest[:19]


def number(value: float | None) -> str:
    """Format a metric with four digits, None as a dash."""
    return "-" if value is None else f"{value:.4g}"
