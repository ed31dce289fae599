"""`check`."""

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_loader.commands.arguments import add_name
from model_loader.commands.result import AddCommand, CommandResult
from model_loader.registry.check import CheckedDraft, check
from model_loader.registry.publish import model_name
from model_loader.text_tables import table


def add_commands(add: AddCommand) -> None:
    """Add `check`."""
    parser = add("check", _check, "check that the draft in DIR can be published, built and served")
    add_draft(parser)
    add_name(parser, DRAFT_NAME)


DRAFT_NAME = "name of the model; default: the name in its manifest.json"


def add_draft(parser: Any, **options: Any) -> None:
    """Add `DIR`, the directory of a draft."""
    parser.add_argument(
        "directory", metavar="DIR", type=Path, help="directory of a draft, or a single ONNX file", **options
    )


def _check(args: Namespace) -> CommandResult:
    """Run `check DIR`."""
    checked = check(args.directory)
    model_name(checked.draft, args.name)
    return CommandResult(f"{describe(checked)}\n{args.directory} can be published", checked_data(checked))


def describe(checked: CheckedDraft) -> str:
    """Return the files of a draft with their sizes, and the warnings, as text."""
    rows = [(path, f"{entry.bytes:,}") for path, entry in checked.draft.files.items()]
    width = max(len(size) for _, size in rows)
    files = table(("FILE", f"{'BYTES':>{width}}"), [(path, size.rjust(width)) for path, size in rows])
    return "\n".join([files, *(f"warning: {warning}" for warning in checked.warnings)])


def checked_data(checked: CheckedDraft) -> dict[str, Any]:
    """Return the files of a draft, and the warnings, for machines."""
    files = {path: asdict(entry) for path, entry in checked.draft.files.items()}
    return {"files": files, "warnings": list(checked.warnings)}
