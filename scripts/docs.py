"""Generate the tables in README.md and docs/ whose content is defined in the code.

The lines between `<!-- generated: NAME -->` and `<!-- end -->` are the output of the function `TABLES[NAME]`.
Everything else in a page is written by hand.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from prometheus_client import Metric

from app import create_app, errors
from app.model.transform import Transform
from app.settings import Settings
from model_loader.__main__ import build_parser
from scripts.team_files import RING, is_owned

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# The template's own model, wherever a team's clone has it.
PACKAGE = (ROOT / RING if is_owned() else ROOT) / "model_store/wine/2"
GENERATED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings_table() -> str:
    """Return the service's settings: variable, default, help."""
    rows = [
        (_code(item.name.upper()), _default(item.default), item.metadata["help"]) for item in fields(Settings)
    ]
    return _table(("variable", "default", "description"), rows)


def errors_table() -> str:
    """Return the errors of scoring requests: status, reason, first line of the docstring."""
    rows = []
    for error in errors.RequestError.__subclasses__():
        status = f"{error.status} + `Retry-After`" if "retry-after" in error.headers else str(error.status)
        rows.append((status, _code(error.reason), (error.__doc__ or "").partition("\n")[0]))
    return _table(("status", "`reason` in the metrics", "when"), rows)


def metrics_table() -> str:
    """Return the service's metrics: name with labels, type, help."""
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(model_path=PACKAGE, web_concurrency=1, capture_dir=Path(directory))
        app = create_app(settings, Transform)
        # A metric with labels has no samples, and so shows no labels, until something is counted.
        client, service = app.test_client(), app.extensions["service"]
        for body in ({"inputs": [[0.0] * 13]}, {"inputs": [["invalid"] + [0.0] * 12]}):
            client.post("/score", json=body)
        client.post("/feedback", json={"id": "0" * 32, "label": 0})
        service.metrics.flush()
        service.capture.close()
        families = list(service.metrics.registry.collect())
    rows = [
        (_code(_series(family)), family.type, family.documentation) for family in families if family.samples
    ]
    return _table(("metric", "type", "description"), rows)


def commands_table() -> str:
    """Return two tables: the commands of `python -m model_loader`, and their arguments."""
    commands = _commands()
    users: dict[tuple[str, str], list[str]] = {}
    for name, (_, actions) in commands.items():
        for action in actions:
            users.setdefault((_usage(action), action.help or ""), []).append(name)
    arguments = [
        (_code(usage), "all" if names == list(commands) else ", ".join(map(_code, names)), text)
        for (usage, text), names in users.items()
    ]
    descriptions = []
    for name, (text, actions) in commands.items():
        positionals = [_usage(action) for action in actions if not action.option_strings]
        descriptions.append((_code(" ".join([name, *positionals])), text))
    return "\n\n".join(
        [
            _table(("command", "description"), descriptions),
            _table(("argument", "commands", "description"), arguments),
        ]
    )


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "errors": errors_table,
    "metrics": metrics_table,
    "commands": commands_table,
}


def generate(page: str) -> str:
    """Return a page with its generated parts up to date.

    Raises:
        KeyError: a marker has a name that is not in TABLES.
    """
    return GENERATED.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[3]}", page)


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite the pages, or check them, and return the exit code."""
    parser = argparse.ArgumentParser(prog="docs", description="Generate the tables in README.md and docs/.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 if a page is out of date"
    )
    args = parser.parse_args(argv)
    is_current = True
    for path in PAGES:
        page = path.read_text()
        generated = generate(page)
        if page == generated:
            continue
        name = path.relative_to(ROOT)
        if args.check:
            print(f"docs: {name} is out of date: run ./scripts/docs", file=sys.stderr)
            is_current = False
        else:
            path.write_text(generated)
            print(f"docs: updated {name}")
    return 0 if is_current else 1


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    lines.insert(1, "|---" * len(header) + "|")
    return "\n".join(lines)


def _code(text: str) -> str:
    return f"`{text}`"


def _default(value: Any) -> str:
    if value is None:
        return "unset"
    return _code(",".join(value) if isinstance(value, tuple) else str(value))


def _series(family: Metric) -> str:
    """Return a metric's name as queries use it, with its labels."""
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
    names = ",".join(label for label in labels if label != "le")
    return f"{name}{{{names}}}" if names else name


def _commands() -> dict[str, tuple[str, list[argparse.Action]]]:
    """Return each command's description and its arguments, without `--help`."""
    # argparse cannot list arguments publicly, and the text of `--help` differs between Python's versions.
    (subparsers,) = (
        action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return {
        name: (parser.description or "", [action for action in parser._actions if action.dest != "help"])
        for name, parser in subparsers.choices.items()
    }


def _usage(action: argparse.Action) -> str:
    """Return an argument as a usage line shows it: `--stage {staging,production}`, `[DIR]`."""
    if action.metavar is not None:
        value = str(action.metavar)
    elif action.choices:
        value = f"{{{','.join(action.choices)}}}"
    else:
        value = action.dest.upper()
    if action.option_strings:
        return action.option_strings[-1] if action.nargs == 0 else f"{action.option_strings[-1]} {value}"
    return f"[{value}]" if action.nargs == "?" else value


if __name__ == "__main__":
    sys.exit(main())
