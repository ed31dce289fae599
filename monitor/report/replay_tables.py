"""A replay as tables of texts, for the terminal and the page."""

from collections.abc import Iterator, Mapping, Sequence

from model_loader.text_tables import number
from monitor.output_changes import Numbers
from monitor.replay import Replay
from monitor.replay_gate import Check

Table = tuple[str, Sequence[str], list[Sequence[str]]]
CHECK_HEADER = ("RULE", "LIMIT", "VALUE", "RESULT")
MAX_DISTRIBUTIONS = 10


def summary(found: Replay) -> str:
    """Return what was replayed in one sentence."""
    window = f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC"
    if not found.rows:
        return f"{found.candidate}: no captured row of {found.name} from {window}: nothing to replay"
    if found.withheld:
        names = ", ".join(found.withheld)
        lack = f"they lack {names}, see schema.json"
        return f"{found.candidate}: {found.rows} captured rows cannot be replayed: {lack}"
    lacking = f"; {found.incomplete} lack a large tensor" if found.incomplete else ""
    if not found.replayed:
        return f"{found.candidate}: none of {found.rows} captured rows can be replayed{lacking}"
    served = ", ".join(f"version {version} ({rows})" for version, rows in (found.versions or {}).items())
    refused = f"; {found.refused} refused{lacking}" if found.refused else lacking
    return (
        f"{found.candidate}: {found.replayed} of {found.rows} answered rows from {window}, then answered by "
        f"{served}{refused}; {found.row_us:.1f} µs a row"
    )


def tables(found: Replay) -> Iterator[Table]:
    """Yield a title, the header and the lines of each table that has lines."""
    outputs = [
        (each.output, str(each.rows), str(each.differing), number(each.share), number(each.low),
         number(each.high), number(each.median), number(each.p95), number(each.largest))
        for each in found.outputs
    ]  # fmt: skip
    yield (
        "Answers that differ",
        ("OUTPUT", "ROWS", "DIFFERING", "SHARE", "LOW", "HIGH", "MEDIAN", "P95", "LARGEST"),
        [*outputs],
    )
    slices = [
        (f"{each.slice}={each.value}", each.output, str(each.rows), str(each.differing), number(each.share),
         number(each.low), number(each.high))
        for each in found.slices
    ]  # fmt: skip
    yield "By slice", ("SLICE", "OUTPUT", "ROWS", "DIFFERING", "SHARE", "LOW", "HIGH"), [*slices]
    metrics = [
        (each.metric, each.slice or "", str(each.rows), number(each.then), number(each.now),
         number(each.difference), number(each.low), number(each.high))
        for each in found.metrics
    ]  # fmt: skip
    yield (
        "On the same labelled rows",
        ("METRIC", "SLICE", "LABELLED", "THEN", "NOW", "BETTER BY", "LOW", "HIGH"),
        [*metrics],
    )
    yield "Distributions", ("ELEMENT", "THEN", "NOW"), [*_distributions(found)]
    violations = [
        (each.feature, each.rule, number(each.share), number(each.low)) for each in found.violations
    ]
    yield "Violations of schema.json", ("FEATURE", "RULE", "SHARE", "LOW"), [*violations]
    errors = [(str(rows), message) for message, rows in (found.errors or {}).items()]
    yield "Why rows are refused", ("ROWS", "REASON"), [*errors]


def check_lines(checks: Sequence[Check]) -> list[Sequence[str]]:
    """Return the lines of the gate's table."""
    return [(each.rule, number(each.limit), number(each.value), each.result) for each in checks]


def _distributions(found: Replay) -> Iterator[Sequence[str]]:
    for output in found.outputs:
        for each in output.distributions[:MAX_DISTRIBUTIONS]:
            yield each.name, _text(each.then), _text(each.now)


def _text(distribution: Numbers | Mapping[str, int]) -> str:
    if isinstance(distribution, Mapping):
        total = sum(distribution.values())
        return ", ".join(f"{value}: {rows / total:.1%}" for value, rows in sorted(distribution.items()))
    low, median, high = (number(each) for each in (distribution.low, distribution.median, distribution.high))
    return f"mean {number(distribution.mean)}, 5 % {low}, median {median}, 95 % {high}"
