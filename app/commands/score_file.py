"""`python -m app.commands.score_file IN OUT`: score the rows of a file, or of a directory of files.

IN is CSV with a header line, JSON Lines or Parquet. Line N of OUT is what `POST /score` answers for row N
under `predictions`, byte for byte; `null` if it was rejected. Rejected rows are in `….rejected.jsonl`, with
their reason. A run that was killed continues where it was.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import orjson

from app.commands.scoring_files.batch_scorer import BATCH_ROWS, BatchScorer, answer_each
from app.commands.scoring_files.errors import ScoringError
from app.commands.scoring_files.formats import INPUT_SUFFIXES, OUTPUT_SUFFIXES, Source, converter, open_source
from app.commands.scoring_files.progress import Progress
from app.commands.scoring_files.resumable_output import ResumableOutput, result_files
from app.commands.scoring_files.text_files import Unreadable
from app.errors import RequestError, StartupError
from app.protocols.predictions import encode_rows
from model_loader.package import hash_file

INTERRUPTED = 130


def score_file(
    scorer: BatchScorer, source_path: Path, out: Path, *, restart: bool = False
) -> tuple[int, int]:
    """Score one file, or the rest of it.

    Args:
        out: the file for the outputs; its name says the format.
        restart: whether to discard an earlier result.

    Returns:
        the number of rows, and of those that were rejected.

    Raises:
        ScoringError: the file cannot be read, does not fit the model, or the result cannot be written.
    """
    source = open_source(source_path, scorer.model, scorer.settings.max_json_values)
    content = hash_file(source_path)
    about = {
        "model": str(scorer.model.package),
        "input": source_path.name,
        "sha256": content.sha256,
        "batch_rows": scorer.batch_rows,
    }
    convert = converter(out, scorer.model)
    if source_path.resolve() in [each.resolve() for each in result_files(out)]:
        raise ScoringError(f"{source_path} would be overwritten by its result, {out}: give another name")
    output = ResumableOutput(out, about, restart=restart, convert=convert)
    if output.is_complete:
        return output.rows, output.rejected
    progress = Progress(source_path.name, source.size, output.rows)
    try:
        for batch in source.batches(scorer.batch_rows, output.rows):
            lines, rejected, count = _score(scorer, source, batch.rows, output.rows)
            output.append(lines, rejected, (len(batch.rows), count))
            progress.show(output.rows, batch.position)
        output.finish()
    finally:
        progress.clear()
        output.close()
    return output.rows, output.rejected


def _score(scorer: BatchScorer, source: Source, rows: list[Any], first: int) -> tuple[bytes, bytes, int]:
    """Return the lines of the outputs and of the rejected rows, and the number of these.

    Args:
        first: number of the first row.
    """

    def answer(readable: Sequence[Any]) -> list[bytes]:
        return encode_rows(len(readable), scorer.infer(source.decode(readable)))

    readable = [index for index, each in enumerate(rows) if type(each) is not Unreadable]
    found: list[bytes | RequestError]
    if len(readable) == len(rows):
        found = answer_each(rows, answer)
    else:
        found = [each.error if isinstance(each, Unreadable) else b"" for each in rows]
        answers = answer_each([rows[index] for index in readable], answer) if readable else []
        for index, each in zip(readable, answers, strict=True):
            found[index] = each
    answered = [each for each in found if isinstance(each, bytes)]
    if len(answered) == len(rows):
        return b"\n".join([*answered, b""]), b"", 0
    lines: list[bytes] = []
    rejected: list[bytes] = []
    for index, (row, each) in enumerate(zip(rows, found, strict=True)):
        if isinstance(each, RequestError):
            preview = row.text if isinstance(row, Unreadable) else source.preview(row)
            rejected.append(_rejected(first + index, each, preview))
            lines.append(b"null\n")
        else:
            lines.append(each + b"\n")
    return b"".join(lines), b"".join(rejected), len(rejected)


def _rejected(row: int, error: RequestError, preview: Any) -> bytes:
    document: dict[str, Any] = {"row": row, "error": str(error)}
    if error.__cause__ and error.status == 500:  # no log has it
        document["cause"] = repr(error.__cause__)
    document["input"] = preview
    try:
        return orjson.dumps(document, default=str) + b"\n"
    except TypeError:  # a map of Parquet, whose keys are no strings
        return orjson.dumps(document | {"input": str(preview)}) + b"\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 failed, 2 usage."""
    args = build_parser().parse_args(argv)
    began = monotonic()
    try:
        pairs = _pairs(args.source, args.out, args.format)
        scorer = open_scorer(args)
        # A file that cannot be scored does not keep the others of the directory from it.
        scored = [_is_scored(scorer, source, out, args.restart) for source, out in pairs]
    except ScoringError as exc:
        return _fail(str(exc))
    except OSError as exc:
        return _fail(_os_error(exc))
    except KeyboardInterrupt:
        _fail("interrupted; the same command continues")
        return INTERRUPTED
    if not all(scored):
        return 1
    print(f"done in {monotonic() - began:.1f} s", file=sys.stderr)
    return 0


def open_scorer(args: argparse.Namespace) -> BatchScorer:
    """Load and verify the model that the options say.

    Raises:
        ScoringError: the service would refuse to start with it.
    """
    try:
        return BatchScorer(args.model, args.batch_rows)
    except StartupError as exc:
        raise ScoringError(str(exc)) from exc


def _is_scored(scorer: BatchScorer, source: Path, out: Path, restart: bool) -> bool:
    """Score a file, and print the result or why there is none; return whether there is one."""
    try:
        rows, rejected = score_file(scorer, source, out, restart=restart)
    except ScoringError as exc:
        _fail(str(exc))
        return False
    except OSError as exc:
        _fail(_os_error(exc))
        return False
    note = f", {rejected} of them rejected" if rejected else ""
    print(f"{out}: {rows} rows of {source} by {scorer.model.package}{note}")
    if rows and rejected == rows:
        _fail(f"{source}: every row was rejected, see {out.stem}.rejected.jsonl")
        return False
    return True


def _os_error(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _fail(message: str) -> int:
    print("score_file:", message, file=sys.stderr)
    return 1


def _pairs(source: Path, out: Path, suffix: str) -> list[tuple[Path, Path]]:
    """Return each file to read and to write.

    Raises:
        ScoringError: there is nothing to score, or two files would have one result.
    """
    if not source.is_dir():
        return [(source, out)]
    if source.resolve() == out.resolve():
        raise ScoringError(f"{out}: expected another directory than the one of the rows")
    found = [
        (path, out / f"{path.stem}.{suffix}")
        for path in sorted(source.iterdir())
        if path.suffix.lower() in INPUT_SUFFIXES and path.is_file()
    ]
    if not found:
        raise ScoringError(f"{source} has no file of {', '.join(INPUT_SUFFIXES)}")
    names: set[Path] = set()
    for path, target in found:
        if target in names:
            raise ScoringError(f"{path} and another file would have the same result, {target}")
        names.add(target)
    return found


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog="python -m app.commands.score_file",
        description="Score the rows of a file, or of each file in a directory, as POST /score does.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", type=Path, metavar="IN", help=f"a file of {', '.join(INPUT_SUFFIXES)}, or a directory"
    )
    parser.add_argument(
        "out", type=Path, metavar="OUT", help=f"a file of {', '.join(OUTPUT_SUFFIXES)}, or a directory"
    )
    model = Path(os.environ.get("MODEL_PATH") or "model")
    parser.add_argument(
        "--model",
        type=Path,
        default=model,
        metavar="DIR",
        help="package, draft or ONNX file; default: MODEL_PATH, or model",
    )
    parser.add_argument(
        "--batch-rows",
        type=_count,
        default=BATCH_ROWS,
        metavar="N",
        help=f"rows that are scored as one request; 1: each alone; default: {BATCH_ROWS}",
    )
    formats = [each.removeprefix(".") for each in OUTPUT_SUFFIXES]
    parser.add_argument(
        "--format", choices=formats, default="jsonl", help="of the files in a directory; default: jsonl"
    )
    parser.add_argument("--restart", action="store_true", help="discard what an earlier run has written")
    return parser


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 999999, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
