"""`score`: rows of objects in a store are scored, as `app.commands.score_file` scores files."""

from argparse import Namespace
from pathlib import Path

from model_loader.store.secrets import scrub
from monitor.commands.data import Add
from monitor.errors import MonitorError
from monitor.lake import cache_root

STORE_HELP = "a path, file:PATH or https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME"


def add_commands(add: Add) -> None:
    """Add the command to the parser."""
    parser = add("score", run_score, "score the rows of objects in a store, as POST /score does")
    parser.add_argument(
        "source", metavar="IN", help=f"{STORE_HELP} of an object, or of all objects below a prefix"
    )
    parser.add_argument("out", metavar="OUT", help="the same, for the results")
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="directory for what is not uploaded yet; default: ~/.cache/scoring/score",
    )
    parser.add_argument(
        "--model", metavar="DIR", help="package, draft or ONNX file; default: MODEL_PATH, or model"
    )
    parser.add_argument(
        "--batch-rows", metavar="N", help="rows that are scored as one request; default: 4096"
    )
    parser.add_argument("--format", metavar="FORMAT", help="of the results below a prefix; default: jsonl")
    parser.add_argument("--restart", action="store_true", help="discard what an earlier run has written")


def run_score(args: Namespace) -> int:
    """Run `score`; the exit code is 1 if an object has no result, or all its rows were rejected."""
    try:
        # Imported only on demand: the monitor's image has neither the service nor ONNX Runtime.
        from app.commands.score_file import build_parser, open_scorer
        from app.commands.scoring_files.errors import ScoringError
        from monitor.score_objects import score_objects
    except ImportError as exc:
        raise MonitorError(
            f"score needs the service and its requirements.txt, run it in the clone: {exc}"
        ) from exc
    given = {"--model": args.model, "--batch-rows": args.batch_rows, "--format": args.format}
    texts = [f"{name}={value}" for name, value in given.items() if value is not None]
    options = build_parser().parse_args(["IN", "OUT", *texts])
    failed = []
    try:
        scorer = open_scorer(options)
        cache = args.cache or cache_root() / "score"
        for each in score_objects(
            scorer, args.source, args.out, cache, suffix=options.format, restart=args.restart
        ):
            if each.error:
                failed.append(each.error)
                continue
            note = f", {each.rejected} of them rejected" if each.rejected else ""
            print(scrub(f"{each.out}: {each.rows} rows of {each.source} by {scorer.model.package}{note}"))
            if each.rows and each.rejected == each.rows:
                failed.append(
                    f"{each.source}: every row was rejected, see {each.out.beside('.rejected.jsonl')}"
                )
    except ScoringError as exc:
        raise MonitorError(str(exc)) from exc
    if failed:
        raise MonitorError("; ".join(failed))
    return 0
