"""`gate`."""

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from model_loader.commands.arguments import add_name, add_selection, add_store, opened_store, selected_version
from model_loader.commands.result import AddCommand, CommandResult
from model_loader.errors import PackageError
from model_loader.package.draft import read_draft
from model_loader.registry.ledger import STAGES, read_ledger
from model_loader.registry.metrics_gate import check, read_limits
from model_loader.registry.versions import get
from model_loader.text_tables import number, table


def add_commands(add: AddCommand) -> None:
    """Add `gate`."""
    parser = add("gate", _gate, "compare metrics with fixed limits and with the model in a stage")
    group = add_selection(parser)
    group.add_argument("--package", type=Path, metavar="DIR", help="a package that is not published yet")
    parser.add_argument(
        "--floors",
        type=Path,
        default=Path("gate.toml"),
        metavar="FILE",
        help="the limits; default: gate.toml",
    )
    parser.add_argument(
        "--stage", choices=STAGES, default="production", help="the stage to compare with; default: production"
    )
    add_store(parser)
    add_name(parser)


def _gate(args: Namespace) -> CommandResult:
    """Run `gate`."""
    limits = read_limits(args.floors)
    if args.package:
        fields = read_draft(args.package).fields
        store, name = opened_store(args), args.name or fields.get("name")
        if not name:
            raise PackageError(f"{args.package} does not name its model: give --name")
        path = candidate = str(args.package)
        metrics = fields.get("metrics", {})
    else:
        store, published = selected_version(args)
        name, path, candidate = published.manifest.name, published.path, str(published)
        metrics = published.manifest.metrics
    ledger = read_ledger(store, name)
    promotions = ledger.promotions(args.stage)
    current = get(store, ledger, promotions[-1].version) if promotions else None
    rows = check(limits, metrics, current.manifest.metrics if current else {})
    text = table(
        ("METRIC", "RULE", path, args.stage, "RESULT"),
        [(r.metric, f"{r.rule} {r.limit:g}", number(r.value), number(r.baseline), r.result) for r in rows],
    )
    failed = sum(not row.passed for row in rows)
    data = {
        "candidate": candidate,
        "baseline": str(current) if current else None,
        "passed": not failed,
        "checks": [asdict(row) for row in rows],
    }
    failure = f"{candidate} does not pass {args.floors}: {failed} of {len(rows)} checks failed"
    return CommandResult(text, data, failure if failed else None)
