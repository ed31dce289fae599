"""Objects of a store, scored by `app.commands.score_file`: downloaded, scored, and the results uploaded.

Each object has a work directory, so that a run that was killed is continued: its download, its scoring, or
its upload. One object at a time is on the disk.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from app.commands.score_file import score_file
from app.commands.scoring_files.batch_scorer import BatchScorer
from app.commands.scoring_files.errors import ScoringError
from app.commands.scoring_files.formats import converter
from model_loader.store.atomic import atomic_write, exclusive_lock
from monitor.errors import MonitorError
from monitor.score_locations import Location, find_pairs, location

STATE_FILE = "state.json"


@dataclass(frozen=True)
class Scored:
    """What became of an object.

    Attributes:
        rows: number of its rows.
        rejected: number of those that were rejected.
        error: why it has no result; empty if it has one.
    """

    source: Location
    out: Location
    rows: int = 0
    rejected: int = 0
    error: str = ""


def score_objects(
    scorer: BatchScorer, source: str, out: str, cache: Path, *, suffix: str, restart: bool = False
) -> Iterator[Scored]:
    """Score an object, or each object below a prefix.

    Args:
        source: path, or URL of an object or prefix; an object has a suffix of a file of rows.
        out: the same, for the results.
        cache: directory of the work directories.
        suffix: of the results below a prefix.
        restart: whether to discard earlier results.

    Raises:
        ScoringError: the results have no known format.
        MonitorError: there is nothing to score, or an object was replaced while it was downloaded.
        StoreError: a store cannot be used.
    """
    found = find_pairs(source, out, suffix)
    converter(Path(found[0][1].name), scorer.model)
    begin, end = location(source), location(out)
    # A relative path is another file in another directory.
    key = "\n".join([str(Path.cwd()), str(begin), str(end), str(scorer.model.package)])
    work = cache / hashlib.sha256(key.encode()).hexdigest()[:16]
    work.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(work):
        for each, target, etag in found:
            own = work / hashlib.sha256(target.name.encode()).hexdigest()[:16]
            try:
                rows, rejected = _score(scorer, each, target, etag, own, restart=restart)
            except ScoringError as exc:
                # An object that cannot be scored does not keep the others from it.
                yield Scored(each, target, error=str(exc))
            else:
                yield Scored(each, target, rows, rejected)
        shutil.rmtree(work)


def _score(
    scorer: BatchScorer, source: Location, out: Location, etag: str, work: Path, *, restart: bool
) -> tuple[int, int]:
    """Score one object, or the rest of it; return the numbers of its rows and of the rejected ones.

    The state is there from when the result may be written. It has the numbers when that is uploaded.
    """
    state, exists = _read_state(work), out.store.etag(out.name) is not None
    if state and "rows" in state and state["etag"] == etag and exists and not restart:
        return state["rows"], state["rejected"]
    may_write = restart or state is not None or not exists
    if restart or not state or state["etag"] != etag or "rows" in state:
        shutil.rmtree(work, ignore_errors=True)
    local_in = work / "in" / PurePosixPath(source.name).name
    local_out = work / "out" / PurePosixPath(out.name).name
    for path in (local_in, local_out):
        path.parent.mkdir(parents=True, exist_ok=True)
    if may_write:
        _write_state(work, {"etag": etag})
    else:
        _take_summary(out, local_out)
    _download(source, etag, local_in)
    try:
        rows, rejected = score_file(scorer, local_in, local_out)
    except ScoringError as exc:
        shutil.rmtree(work)
        text = str(exc).replace(str(local_in), str(source))
        raise ScoringError(text.replace(str(local_out.with_suffix("")), str(out.beside("")))) from exc
    if may_write:
        _upload(local_out, out)
        _write_state(work, {"etag": etag, "rows": rows, "rejected": rejected})
    for path in (local_in, local_out):
        shutil.rmtree(path.parent)
    return rows, rejected


def _take_summary(out: Location, local: Path) -> None:
    """Let `score_file` find the result that is in the store, and decide: done already, or of something else.

    Raises:
        ScoringError: the result has no summary, so nothing says what it is of.
    """
    summary = out.beside(".summary.json")
    if (found := summary.store.read(summary.name)) is None:
        raise ScoringError(f"{out} exists already: remove it, or discard it with --restart")
    local.with_suffix(".summary.json").write_bytes(found[0])
    local.touch()


def _download(source: Location, etag: str, target: Path) -> None:
    """Download an object, or the rest of it."""
    part = target.with_name(f"{target.name}.part")
    if target.exists():
        return
    with part.open("ab") as file:
        for chunk in source.store.chunks(source.name, file.tell()):
            file.write(chunk)
    if source.store.etag(source.name) != etag:
        raise MonitorError(f"{source} was replaced while it was downloaded: run the command again")
    part.replace(target)


def _upload(local: Path, out: Location) -> None:
    """Upload a result; the outputs are the last, so whoever sees them has all of it."""
    if out.store.etag(out.name) is not None:
        out.store.delete(out.name)
    for suffix in (".rejected.jsonl", ".summary.json", local.suffix):
        target, path = out.beside(suffix), local.with_suffix(suffix)
        if path.exists():
            with path.open("rb") as file:
                target.store.upload(target.name, file)
        elif target.store.etag(target.name) is not None:
            target.store.delete(target.name)


def _read_state(work: Path) -> dict[str, Any] | None:
    path = work / STATE_FILE
    return json.loads(path.read_bytes()) if path.exists() else None


def _write_state(work: Path, state: dict[str, Any]) -> None:
    with atomic_write(work / STATE_FILE) as file:
        file.write(json.dumps(state).encode())
