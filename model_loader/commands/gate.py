"""`gate`."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_loader.commands.arguments import add_name, add_selection, add_store, opened_store, selected_version
from model_loader.commands.result import AddCommand, CommandResult
from model_loader.errors import GateError, PackageError
from model_loader.evaluation_file import Evaluation, read_evaluation
from model_loader.package import MODEL_FILE, hash_file, is_number
from model_loader.package.draft import read_draft
from model_loader.registry import challenger_gate
from model_loader.registry.challenger_gate import ChallengerCheck
from model_loader.registry.ledger import STAGES, read_ledger
from model_loader.registry.metrics_gate import Check, check, read_limits
from model_loader.registry.versions import PublishedVersion, get
from model_loader.store import Store
from model_loader.text_tables import number, table


@dataclass(frozen=True)
class _Candidate:
    """The model to judge.

    Attributes:
        path: its name in the table.
        title: its name in messages.
        sha256: of its `model.onnx`.
        training: what its manifest says of the training.
    """

    store: Store
    name: str
    path: str
    title: str
    metrics: Mapping[str, float]
    sha256: str
    training: Mapping[str, Any]


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
    parser.add_argument(
        "--evaluation",
        type=Path,
        metavar="FILE",
        help="the training's evaluation.json, for the rules of [challenger]",
    )
    add_store(parser)
    add_name(parser)


def _gate(args: Namespace) -> CommandResult:
    """Run `gate`."""
    limits = read_limits(args.floors)
    found = _candidate(args)
    ledger = read_ledger(found.store, found.name)
    promotions = ledger.promotions(args.stage)
    current = get(found.store, ledger, promotions[-1].version) if promotions else None
    metrics = _current_metrics(current, found.training) if current else {}
    evaluation, challenges, compared = None, [], ""
    if args.evaluation:
        rules, evaluation = challenger_gate.read_rules(args.floors), read_evaluation(args.evaluation)
        _check_models(args.evaluation, evaluation, found, current.path if current else None)
        challenges = challenger_gate.check(rules, evaluation)
        compared = f"; {evaluation.summary(rules.metric)}"
        metrics |= {each.metric: each.champion for each in evaluation.comparisons if each.slice is None}
    rows = check(limits, found.metrics, metrics)
    text = _metrics_table(rows, found.path, args.stage)
    failed = [row for row in rows if not row.passed]
    reasons = [_reason(each) for each in challenges if not each.passed]
    data = {
        "candidate": found.title,
        "baseline": str(current) if current else None,
        "passed": not failed and not reasons,
        "checks": [asdict(row) for row in rows],
    }
    if evaluation:
        text = f"{text}\n\n{_challenger_table(challenges, evaluation.champion, found.path)}"
        data |= {"champion": evaluation.champion, "challenger": [asdict(each) for each in challenges]}
    if not failed and not reasons:
        return CommandResult(f"{text}\npassed {args.floors}{compared}", data)
    count = f"{len(failed) + len(reasons)} of {len(rows) + len(challenges)} checks failed"
    if evaluation:
        reasons = [
            *(f"{row.metric}: {number(row.value)}, {row.rule} {row.limit:g}" for row in failed),
            *reasons,
        ]
    failure = "; ".join([f"{found.title} does not pass {args.floors}: {count}", *reasons])
    return CommandResult(text, data, failure)


def _candidate(args: Namespace) -> _Candidate:
    """Return what `--package`, `--version` or `--locked` selects."""
    if not args.package:
        store, published = selected_version(args)
        manifest = published.manifest
        sha256 = manifest.files[MODEL_FILE].sha256
        training = manifest.document.get("training", {})
        return _Candidate(
            store, manifest.name, published.path, str(published), manifest.metrics, sha256, training
        )
    fields = read_draft(args.package).fields
    store, name = opened_store(args), args.name or fields.get("name")
    if not name:
        raise PackageError(f"{args.package} does not name its model: give --name")
    model = args.package if args.package.is_file() else args.package / MODEL_FILE
    path, sha256 = str(args.package), hash_file(model).sha256
    return _Candidate(store, name, path, path, fields.get("metrics", {}), sha256, fields.get("training", {}))


def _current_metrics(current: PublishedVersion, training: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of the model in the stage.

    Those that the candidate's training calculated are of the same rows as the candidate's own; those in the
    manifest of the model in the stage are of the rows of its own training.
    """
    metrics = dict(current.manifest.metrics)
    match training.get("champion"):
        case {"model": current.path, "metrics": dict(measured)}:
            metrics |= {name: value for name, value in measured.items() if is_number(value)}
    return metrics


def _check_models(path: Path, evaluation: Evaluation, found: _Candidate, current: str | None) -> None:
    """Check that an evaluation is of these two models.

    Raises:
        GateError: it is of others.
    """
    if evaluation.challenger != found.sha256:
        raise GateError(
            f"{path} is of another model: expected the sha256 of {found.title}'s {MODEL_FILE}, "
            f"{found.sha256}, got {evaluation.challenger:.80}"
        )
    if current is not None and evaluation.champion != current:
        raise GateError(
            f"{path} compares with {evaluation.champion:.80}, but the stage has {current} now: train again"
        )


def _metrics_table(rows: Sequence[Check], path: str, stage: str) -> str:
    return table(
        ("METRIC", "RULE", path, stage, "RESULT"),
        [(r.metric, f"{r.rule} {r.limit:g}", number(r.value), number(r.baseline), r.result) for r in rows],
    )


def _challenger_table(checks: Sequence[ChallengerCheck], champion: str, path: str) -> str:
    return table(
        ("METRIC", "SLICE", "ROWS", path, champion, "DIFFERENCE", "LOW", "HIGH", "RULE", "RESULT"),
        [
            (each.metric, each.slice or "", str(each.rows), number(each.challenger), number(each.champion),
             number(each.difference), number(each.low), number(each.high), each.rule, each.result)
            for each in checks
        ],
    )  # fmt: skip


def _reason(check: ChallengerCheck) -> str:
    where = f" of {check.slice}" if check.slice else ""
    return f"{check.metric}{where}: {check.result.removeprefix('FAILED: ')}"
