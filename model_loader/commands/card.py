"""`card`."""

import hashlib
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from model_loader.card import Card, read_card, to_html, to_markdown
from model_loader.commands.arguments import OPTIONAL_VERSION, add_name, add_store, store_and_name
from model_loader.commands.result import AddCommand, CommandResult
from model_loader.errors import PackageError
from model_loader.package.draft import draft_package, is_draft, read_draft
from model_loader.package.json_file import parse_json
from model_loader.package.manifest_fields import SCHEMA_FILE
from model_loader.package.schema import parse_schema, read_schema_document
from model_loader.package.verify import read_package
from model_loader.registry.versions import find
from model_loader.store.atomic import atomic_write

FORMATS = {"markdown": to_markdown, "html": to_html}


def add_commands(add: AddCommand) -> None:
    """Add `card`."""
    parser = add(
        "card", _card, "print the model card of a version, in Markdown as model hubs read it or in HTML"
    )
    parser.add_argument("version", nargs="?", **OPTIONAL_VERSION)
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="a package or a draft, instead of a version"
    )
    parser.add_argument("--format", choices=FORMATS, default="markdown", help="default: markdown")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the card to a file")
    add_store(parser)
    add_name(parser)


def _card(args: Namespace) -> CommandResult:
    """Run `card`."""
    card = _of_directory(args.directory) if args.directory else _of_version(args)
    text = FORMATS[args.format](card)
    if args.out:
        with atomic_write(args.out) as file:
            file.write(text.encode())
        return CommandResult(f"wrote the card of {card.title} to {args.out}", {"file": str(args.out)})
    return CommandResult(text.rstrip("\n"), asdict(card))


def _of_directory(path: Path) -> Card:
    """Return the card of a package, or of a draft, in a directory."""
    package = draft_package(read_draft(path)) if is_draft(path) else read_package(path)
    schema = read_schema_document(package)
    if schema is not None:
        parse_schema(schema)
    return read_card(package.manifest.document, schema, package.digest)


def _of_version(args: Namespace) -> Card:
    """Return the card of a version in a store."""
    store, name = store_and_name(args)
    published = find(store, name, args.version)
    schema = None
    if entry := published.manifest.files.get(SCHEMA_FILE):
        path = f"{published.path}/{SCHEMA_FILE}"
        found = store.read(path)
        if found is None or hashlib.sha256(found[0]).hexdigest() != entry.sha256:
            got = "nothing" if found is None else f"sha256:{hashlib.sha256(found[0]).hexdigest()}"
            raise PackageError(f"{path}: expected sha256:{entry.sha256}, got {got}")
        schema = parse_json(found[0], path)
        parse_schema(schema, path)
    return read_card(published.manifest.document, schema, published.digest)
