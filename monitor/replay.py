"""Captured rows through another model, beside what was answered then; no traffic is at risk.

Rows that were answered in a window are scored again. What differs is compared by output and slice. With
labels, both models are measured on the same rows, and the difference has its interval.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Protocol

from model_loader import mean_intervals
from monitor.config import Config
from monitor.database import Connection, quote, read_segments, rows, run
from monitor.errors import QueryError
from monitor.output_changes import ANY, OutputChange, OutputChanges
from monitor.paired_metrics import NOW, THEN, PairedMetric, paired_metrics
from monitor.quality import MAX_SLICE_VALUES, timestamp
from monitor.scored import create_scored
from monitor.targets import Target

BATCH_ROWS = 4096
MAX_ROWS = 100_000
MAX_ERRORS = 10


class Answer(Protocol):
    """What the candidate answers to a row, as `app.commands.score_rows.RowAnswer`."""

    @property
    def outputs(self) -> Mapping[str, Any] | None: ...
    @property
    def error(self) -> str: ...


Score = Callable[[Sequence[Mapping[str, Any]]], Sequence[Answer]]


@dataclass(frozen=True)
class SliceChange:
    """How many rows of a slice differ.

    Attributes:
        output: that is compared; `any` if nothing says which one the labels are the truth of.
        share: of the rows that differ, with its interval of 95 %.
    """

    slice: str
    value: str
    output: str
    rows: int
    differing: int
    share: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Violation:
    """How often a feature violates a rule of `schema.json`.

    Attributes:
        share: of the replayed rows; of missing values, only what exceeds the share that the schema allows.
        low: end of its interval of 95 % that is certain.
    """

    feature: str
    rule: str
    share: float
    low: float


@dataclass(frozen=True)
class Replay:
    """What a candidate answers to captured rows.

    Attributes:
        rows: answered rows in the window.
        replayed: of those, how many were scored again: all, or a sample that is always the same.
        withheld: features without which no row can be scored again, because capture withholds them.
        incomplete: rows of the sample with a tensor of which capture has kept the digest only.
        versions: version that answered then → its replayed rows.
        refused: number of rows that the candidate refuses.
        errors: why, the most frequent ones: message → rows.
        outputs: how each output changes; the first is `any`.
        row_us: time that the candidate takes for a row, in microseconds.
        metrics: both models' on the same labelled rows.
    """

    name: str
    candidate: str
    since: datetime
    until: datetime
    rows: int
    replayed: int = 0
    withheld: tuple[str, ...] = ()
    incomplete: int = 0
    versions: Mapping[int, int] | None = None
    refused: int = 0
    errors: Mapping[str, int] | None = None
    outputs: tuple[OutputChange, ...] = ()
    slices: tuple[SliceChange, ...] = ()
    violations: tuple[Violation, ...] = ()
    row_us: float = 0.0
    metrics: tuple[PairedMetric, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """The model that captured rows are replayed through.

    Attributes:
        name: of the model whose rows they are.
        title: for people.
        score: scores rows.
        violations: returns how many values so far violate the candidate's schema: feature, rule → values.
        max_missing: feature → share of its values that may be missing.
        withheld: features that capture withholds.
        target: what the labels are the truth of; None: nothing says it.
    """

    name: str
    title: str
    score: Score
    violations: Callable[[], Mapping[tuple[str, str], int]]
    max_missing: Mapping[str, float]
    withheld: tuple[str, ...]
    target: Target | None


def replay(
    connection: Connection,
    candidate: Candidate,
    config: Config,
    since: datetime,
    until: datetime,
    max_rows: int = MAX_ROWS,
) -> Replay:
    """Replay the rows that were answered from `since` until before `until`.

    Args:
        connection: of `open_database`; its views are left as they are.
        max_rows: of more rows, those with the smallest hash are replayed: the same ones each time.

    Raises:
        MonitorError: the data cannot be read, or a slice cannot be calculated.
    """
    where = (
        f"coalesce(status, 200) = 200 AND inputs IS NOT NULL AND time >= {timestamp(since)} "
        f"AND time < {timestamp(until)}"
    )
    ((count,),) = rows(connection, f"SELECT count(*) FROM main.predictions WHERE {where}")
    nothing = Replay(candidate.name, candidate.title, since, until, count, withheld=candidate.withheld)
    if not count or candidate.withheld:
        return nothing
    run(connection, "CREATE SCHEMA replay; SET search_path = 'replay,main'")
    sample = f" ORDER BY hash(id, row) LIMIT {max_rows}" if count > max_rows else ""
    run(
        connection,
        f"CREATE TABLE answered AS SELECT * REPLACE ({THEN} AS version), version AS served "
        f"FROM main.predictions WHERE {where}{sample}",
    )
    changes = OutputChanges()
    errors: dict[str, int] = {}
    with TemporaryDirectory(prefix="scoring-replay-") as directory:
        file = Path(directory) / "answers.jsonl"
        seconds = _score(connection, candidate.score, changes, errors, file)
        _create_views(connection, file)
    served = "SELECT served, count(*) FROM answered JOIN answers USING (id, row) GROUP BY ALL ORDER BY ALL"
    versions = rows(connection, served)
    replayed = sum(number for _, number in versions)
    ((sampled,),) = rows(connection, "SELECT count(*) FROM answered")
    if not replayed:
        return replace(nothing, incomplete=sampled)
    output = candidate.target.output if candidate.target else ANY
    slices = [each for name in config.slices for each in _slices(connection, name, output, config)]
    metrics: list[PairedMetric] = []
    if candidate.target:
        scored = create_scored(connection, {THEN: candidate.target, NOW: candidate.target}, config.slices)
        if scored.faults:
            raise QueryError("; ".join(sorted({*scored.faults.values()})))
        metrics = paired_metrics(connection, candidate.target, config)
    frequent = sorted(errors.items(), key=lambda item: (-item[1], item[0]))[:MAX_ERRORS]
    return Replay(
        candidate.name,
        candidate.title,
        since,
        until,
        count,
        replayed,
        (),
        sampled - replayed,
        dict(versions),
        sum(errors.values()),
        dict(frequent),
        tuple(changes.result()),
        tuple(slices),
        tuple(_violations(candidate, replayed)),
        seconds / replayed * 1e6,
        tuple(metrics),
    )


def _score(
    connection: Connection, score: Score, changes: OutputChanges, errors: dict[str, int], file: Path
) -> float:
    """Score the rows of `answered`, write the answers as captured rows, and return how long it took."""
    # A cursor of its own, because the result is read in parts.
    found = run(connection.cursor(), "SELECT id, row, inputs::VARCHAR, outputs::VARCHAR FROM replay.answered")
    seconds = 0.0
    with file.open("w", encoding="utf-8") as answers:
        while batch := found.fetchmany(BATCH_ROWS):
            parsed = [(*each, json.loads(each[2])) for each in batch]
            whole = [each for each in parsed if not any(map(_is_digest, each[-1].values()))]
            began = perf_counter()
            scored = score([each[-1] for each in whole])
            seconds += perf_counter() - began
            for (id_, row, _, then, _), answer in zip(whole, scored, strict=True):
                differing = None
                if answer.outputs is None:
                    errors[answer.error] = errors.get(answer.error, 0) + 1
                else:
                    differing = changes.add(json.loads(then or "null") or {}, answer.outputs)
                line = {"id": id_, "row": row, "status": 200 if answer.outputs is not None else 400}
                line |= {"outputs": answer.outputs, "inputs": differing}
                answers.write(json.dumps(line) + "\n")
    return seconds


def _is_digest(value: Any) -> bool:
    """Return whether a value stands for a tensor that was too large to be captured."""
    return isinstance(value, dict) and value.keys() == {"shape", "sha256"}


def _create_views(connection: Connection, file: Path) -> None:
    """Create `predictions`, with both answers to each row as versions, and `changes`, what differs."""
    run(connection, f"CREATE TABLE answers AS {read_segments('prediction', [file])}")
    run(
        connection,
        f"CREATE TABLE predictions AS SELECT * EXCLUDE (served) FROM answered UNION ALL BY NAME "
        f"SELECT answered.* EXCLUDE (served) REPLACE ({NOW} AS version, answers.outputs AS outputs, "
        "answers.status AS status) FROM answered JOIN answers USING (id, row)",
    )
    # The outputs that differ are in the column `inputs` of the answers.
    run(connection, "CREATE VIEW changes AS SELECT id, row, inputs AS differing FROM answers")
    run(
        connection,
        "CREATE VIEW joined AS SELECT predictions.*, metric, value FROM predictions "
        "LEFT JOIN main.labels USING (name, id, row)",
    )


def _slices(connection: Connection, name: str, output: str, config: Config) -> Iterator[SliceChange]:
    """Yield the values of a slice that have enough rows, the largest first."""
    sql = (
        f"SELECT value, count(*), count_if(differs) FROM (SELECT CAST(({config.slices[name]}) AS VARCHAR) "
        f"AS value, list_contains(changes.differing::VARCHAR[], {quote(output)}) AS differs "
        f"FROM answered JOIN changes USING (id, row) WHERE differing IS NOT NULL) WHERE value IS NOT NULL "
        f"GROUP BY ALL HAVING count(*) >= {config.min_slice_rows} ORDER BY 2 DESC, 1 LIMIT {MAX_SLICE_VALUES}"
    )
    try:
        found = rows(connection, sql)
    except QueryError as exc:
        raise QueryError(f"monitor.toml: slices.{name}: {exc}") from exc
    for value, count, differing in found:
        low, high = mean_intervals.wilson(differing, count)
        yield SliceChange(name, value, output, count, differing, differing / count, low, high)


def _violations(candidate: Candidate, replayed: int) -> Iterator[Violation]:
    for (feature, rule), count in sorted(candidate.violations().items()):
        allowed = candidate.max_missing.get(feature, 1.0) if rule == "missing" else 0.0
        share = count / replayed - allowed
        if share > 0:
            # A row with several values may violate a rule several times.
            low, _ = mean_intervals.wilson(min(count, replayed), replayed)
            yield Violation(feature, rule, share, max(0.0, (low or 0.0) - allowed))
