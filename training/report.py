"""The report on the data: `data.json` for programs, `data.html` for people."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from training.checks import Check

JSON_FILE, HTML_FILE, EVALUATION_FILE = "data.json", "data.html", "evaluation.json"
COLUMNS = ("check", "source", "column", "expected", "got", "result")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .75rem .25rem 0; text-align: left }
.failed { color: #b00020; font-weight: 600 }
"""


def report_directory(output: Path) -> Path:
    """Return where the reports on a package are: beside it, because a package has no other files."""
    return output.with_name(f"{output.name}-report")


def write_report(directory: Path, checks: Sequence[Check], about: Mapping[str, Any]) -> None:
    """Write the report.

    Args:
        about: what else it says of the data, such as the number of rows.
    """
    directory.mkdir(parents=True, exist_ok=True)
    passed = all(check.passed for check in checks)
    document = {"passed": passed, **about, "checks": [asdict(check) for check in checks]}
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (directory / JSON_FILE).write_text(text, encoding="utf-8")
    (directory / HTML_FILE).write_text(_page(checks, about), encoding="utf-8")


def _page(checks: Sequence[Check], about: Mapping[str, Any]) -> str:
    failed = sum(not check.passed for check in checks)
    title = (
        f"{failed} of {len(checks)} checks of the data failed" if failed else "All checks of the data passed"
    )
    facts = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in about.items()
    )
    rows = "".join(_row(check) for check in sorted(checks, key=lambda check: check.passed))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<table>{facts}</table>\n"
        f"<h2>Checks</h2>\n<table><thead><tr>{_cells('th', COLUMNS)}</tr></thead>\n"
        f"<tbody>{rows}</tbody></table>\n</body></html>\n"
    )


def _row(check: Check) -> str:
    result = "passed" if check.passed else "failed"
    cells = (check.check, check.source, check.column, check.expected, check.got, result)
    return f'<tr class="{result}">{_cells("td", cells)}</tr>\n'


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)
